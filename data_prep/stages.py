"""The two stages that workers do, in chunks that are logged: what a killed run has finished is not done again."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .options import Options
from .probe import Probe
from .progress import Display, Usage
from .store import THUMB_BYTES, Log, Thumbs, WorkFolder
from .tasks import Outcome, look_chunk, write_chunk
from .workers import Crew, stream
from .writing import WriteJob

CHUNK = 32  # images per task; a part of the fingerprint, since the logs count in chunks


@dataclass
class Run:
    """What the stages of one run share."""

    work: WorkFolder
    team: Crew
    options: Options
    display: Display
    usage: Usage = field(default_factory=Usage)


class Stage(Protocol):
    """One stage: how to ask for a chunk, what to log of the answer, and what to do with a logged answer."""

    name: str
    function: Callable[..., Any]
    count: int

    def arguments(self, start: int, stop: int) -> tuple:
        """Arguments of the function for the images from start to stop."""

    def log(self, start: int, result: Any) -> Any:
        """Store what is large and return the entry for the log."""

    def valid(self, start: int, entry: Any) -> bool:
        """Is a logged entry, perhaps of a killed run, still true?"""

    def take(self, start: int, entry: Any) -> None:
        """Use an entry."""


def run_stage(stage: Stage, run: Run) -> None:
    """Do what the log does not have, log it, and hand every entry to the stage once."""
    began = time.perf_counter()
    log = Log(run.work.path / f"{stage.name}.log")
    starts = dict.fromkeys(range(0, stage.count, CHUNK), False)
    for start, entry in log.read():
        if not starts[start] and stage.valid(start, entry):
            stage.take(start, entry)
            starts[start] = True
    done = sum(min(CHUNK, stage.count - start) for start, known in starts.items() if known)
    if done:
        run.display.say(f"{stage.name}: {done} of {stage.count} images are known from the interrupted run")
    todo = ((s, stage.arguments(s, min(s + CHUNK, stage.count))) for s, known in starts.items() if not known)
    with run.display.bar(stage.name, stage.count, done) as bar:
        for start, result, cost in stream(run.team, stage.function, todo):
            entry = stage.log(start, result)
            log.append((start, entry))
            stage.take(start, entry)
            run.usage.add(cost)
            bar.update(min(CHUNK, stage.count - start))
    run.usage.stages[stage.name] = stage.count - done, time.perf_counter() - began


class Look:
    """Decode every file once; probes are handed on by number, thumbnails go to the disk."""

    name, function = "look", staticmethod(look_chunk)

    def __init__(self, files: list[tuple[str, int | None]], thumbs: Thumbs, min_size: int, use) -> None:
        self.files, self.thumbs, self.min_size, self.use = files, thumbs, min_size, use
        self.count = len(files)

    def arguments(self, start: int, stop: int) -> tuple:
        """Paths and frames of a chunk."""
        return self.files[start:stop], self.min_size

    def log(self, start: int, result: tuple[list[Probe], bytes]) -> tuple[list[Probe], int]:
        """Thumbnails first, so that a logged chunk always has them; the checksum proves it after a power cut."""
        self.thumbs.write(start, result[1])
        return result[0], zlib.crc32(result[1])

    def valid(self, start: int, entry: tuple[list[Probe], int]) -> bool:
        """Are the thumbnails those that were logged?"""
        data = self.thumbs.read(start, len(entry[0]))
        return len(data) == len(entry[0]) * THUMB_BYTES and zlib.crc32(data) == entry[1]

    def take(self, start: int, entry: tuple[list[Probe], int]) -> None:
        """Hand the probes on."""
        for place, probe in enumerate(entry[0]):
            self.use(start + place, probe)


class Write:
    """Write every image; a logged chunk counts while its files are there and no image of it failed."""

    name, function = "write", staticmethod(write_chunk)

    def __init__(self, count: int, job: Callable[[int], tuple[WriteJob, bytes]], use, there) -> None:
        self.count, self.job, self.use, self.there = count, job, use, there

    def arguments(self, start: int, stop: int) -> tuple:
        """Jobs of a chunk, made when their turn comes."""
        return ([self.job(number) for number in range(start, stop)],)

    def log(self, start: int, result: list[Outcome]) -> list[Outcome]:
        """Outcomes are small."""
        return result

    def valid(self, start: int, entry: list[Outcome]) -> bool:
        """Did nothing fail, and does every file lie where it was written?"""
        return not any(one.fault for one in entry) and all(self.there(*file) for one in entry for file in one.files)

    def take(self, start: int, entry: list[Outcome]) -> None:
        """Hand the outcomes on."""
        for place, outcome in enumerate(entry):
            self.use(start + place, outcome)
