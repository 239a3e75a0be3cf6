"""What a person sees of a run: a bar per stage on stderr (images per second, time left) and what the run used."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from .workers import Cost, this_process


@dataclass
class Usage:
    """Time and memory of a run; ``text`` is what the command prints last."""

    start: float = field(default_factory=time.perf_counter)
    stages: dict[str, tuple[int, float]] = field(default_factory=dict)  # images done in this run, seconds
    worker_cpu: float = 0.0
    peaks: dict[str, int] = field(default_factory=dict)  # worker process -> KiB

    def add(self, cost: Cost) -> None:
        """Count one task."""
        self.worker_cpu += cost.cpu
        if cost.process == this_process():
            return
        self.peaks[cost.process] = max(cost.peak_kib, self.peaks.get(cost.process, 0))

    def text(self) -> str:
        """Lines for a person; nothing of it stands in the output folder."""
        wall = time.perf_counter() - self.start
        own = resource.getrusage(resource.RUSAGE_SELF)
        parent = own.ru_maxrss // 1024 if sys.platform == "darwin" else own.ru_maxrss
        lines = [
            f"{name}: {count} images in {seconds:.1f} s, {count / max(seconds, 1e-9):.1f} images/s"
            for name, (count, seconds) in self.stages.items()
        ]
        rest = wall - sum(seconds for _, seconds in self.stages.values())
        lines.append(
            f"wall {wall:.1f} s ({rest:.1f} s of it outside these stages), CPU {own.ru_utime + own.ru_stime:.1f} s "
            f"here and {self.worker_cpu:.1f} s in tasks"
        )
        lines.append(f"peak memory {parent / 1024:.0f} MiB here")
        if self.peaks:
            lines[-1] += f", {max(self.peaks.values()) / 1024:.0f} MiB in the largest of {len(self.peaks)} workers"
        return "\n".join(lines) + "\n"


class Display:
    """Bars and lines on stderr; no bars where stderr is no terminal or ``quiet`` is set."""

    def __init__(self, quiet: bool = False) -> None:
        self.bars = not quiet and sys.stderr is not None and sys.stderr.isatty()

    def say(self, line: str) -> None:
        """Print a line that a bar does not overwrite."""
        tqdm.write(f"data_prep: {line}", file=sys.stderr)

    @contextmanager
    def bar(self, stage: str, total: int, done: int) -> Iterator[tqdm]:
        """Bar of one stage: share done, images per second, time left."""
        with tqdm(
            total=total,
            initial=done,
            desc=stage,
            unit="image",
            disable=not self.bars,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.05,
        ) as found:
            yield found
