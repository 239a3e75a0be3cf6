"""Saliency maps for all images of a prepared set, whole or not at all: ``python -m data_prep saliency SET``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from . import stages
from .errors import EmptyResultError, OptionError, UnreadableImage
from .file_stage import FileStage
from .images import decode, encode_png, write_whole
from .options import Options
from .output import MARK, claimed, fingerprint, finish, sweep
from .progress import Display, Usage
from .readers.listing import list_files
from .records import Record
from .saliency import frame_saliency
from .stages import Run, run_stage
from .workers import crew


@dataclass(frozen=True)
class MapOptions(Options):
    """Parameters of a run: jobs and the like as in `Options`; ``circle``: fundus photographs that fill the frame."""

    circle: bool = False


@dataclass(frozen=True)
class MapJob:
    """One image and where its map goes."""

    source: str
    target: str
    circle: bool


@dataclass(frozen=True)
class Mapped:
    """What became of one image; ``fault`` says why it has no map."""

    fault: str = ""
    files: tuple[tuple[str, int, int], ...] = ()  # (path, size, time in ns)
    salient: float = 0.0  # share of the map above 127


def map_chunk(jobs: Sequence[MapJob]) -> list[Mapped]:
    """Write the maps of some images."""
    return [_map(job) for job in jobs]


def _map(job: MapJob) -> Mapped:
    try:
        pixels = decode(Path(job.source)).pixels
    except UnreadableImage as error:
        return Mapped(str(error))
    image = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    found = frame_saliency(image, job.circle)
    write_whole(Path(job.target), encode_png(found))
    stat = Path(job.target).stat()
    return Mapped("", ((job.target, stat.st_size, stat.st_mtime_ns),), float(np.mean(found > 127)))


def write_maps(folder: Path, options: MapOptions, usage: Usage | None = None) -> dict:
    """Add saliency/ to ``folder``: for images/a/b.jpg the map saliency/a/b.png, of the same size.

    Raises:
        DataPrepError: no prepared set, maps there already, an image without a map of its own name.
        InterruptedRun: a worker died or the disk is full; the same call goes on where this one stopped.
    """
    records = _images(folder)
    display = Display(options.quiet)
    own = fingerprint(folder / "images", options, records, stages.CHUNK)
    with (
        crew(options.jobs) as team,
        claimed(folder / "saliency", own, options.overwrite, display.say) as work,
    ):
        if work is None:
            return json.loads((folder / "saliency" / MARK).read_text(encoding="utf-8"))
        summary = _write(records, Run(work, team, options, display, usage or Usage()), options.circle)
        finish(work, 0)
    return summary


def _images(folder: Path) -> list[Record]:
    if not (folder / MARK).is_file() or not (folder / "images").is_dir():
        raise OptionError(f"SET {folder} has no {MARK} and images/: expected a folder that data_prep wrote")
    files = list_files(folder / "images", only_images=True).files
    if not files:
        raise EmptyResultError(f"no image in {folder / 'images'}")
    first: dict[str, str] = {}
    for file in files:
        name = PurePosixPath(file).with_suffix(".png").as_posix()
        if first.setdefault(name, file) != file:
            raise OptionError(f"images {first[name]} and {file} would share the map {name}: rename one of them")
    return [Record(file, files[file], out_file=name) for name, file in first.items()]


def _write(records: Sequence[Record], run: Run, circle: bool) -> dict:
    folder, found = run.work.result, dict[int, Mapped]()

    def job(number: int) -> MapJob:
        record = records[number]
        return MapJob(str(record.path.absolute()), str(folder / record.out_file), circle)

    run_stage(FileStage("saliency", map_chunk, len(records), job, found.__setitem__, run.work.holds), run)
    faults = [(records[number].file, one.fault) for number, one in found.items() if one.fault]
    if faults:
        raise OptionError(
            f"{len(faults)} of {len(records)} images cannot be read (first: {faults[0][0]}: {faults[0][1]}); "
            "prepare the set again"
        )
    sweep(folder, {record.out_file for record in records})
    summary = {
        "maps": len(records),
        "circle": circle,
        "salient": float(np.mean([one.salient for one in found.values()])),
    }
    write_whole(folder / MARK, (json.dumps(summary, indent=2) + "\n").encode())
    return summary
