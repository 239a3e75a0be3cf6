"""A stage whose tasks write files: used by the commands ``fundus`` and ``saliency`` of ``python -m data_prep``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

Files = tuple[tuple[str, int, int], ...]  # (path, size, time in ns) of what was written


class Done(Protocol):
    """What became of one image."""

    @property
    def fault(self) -> object:
        """Why nothing was written; false where it was."""

    @property
    def files(self) -> Files:
        """What was written."""


Job = TypeVar("Job")
Result = TypeVar("Result", bound=Done)


class FileStage(Generic[Job, Result]):
    """One job per image; a logged chunk counts while its files are there and no image of it failed.

    Args:
        name: shown at the bar.
        function: what a worker does with the jobs of a chunk.
        count: number of images.
        job: makes the job of an image when its turn comes.
        use: takes the number of an image and what became of it.
        there: says whether a file is still as it was written.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Sequence[Job]], list[Result]],
        count: int,
        job: Callable[[int], Job],
        use: Callable[[int, Result], object],
        there: Callable[[str, int, int], bool],
    ) -> None:
        self.name, self.function, self.count = name, function, count
        self.job, self.use, self.there = job, use, there

    def arguments(self, start: int, stop: int) -> tuple:
        """Jobs of a chunk."""
        return ([self.job(number) for number in range(start, stop)],)

    def log(self, start: int, result: list[Result]) -> list[Result]:
        """Results are small."""
        return result

    def valid(self, start: int, entry: list[Result]) -> bool:
        """Did nothing fail, and does every file lie where it was written?"""
        return not any(one.fault for one in entry) and all(self.there(*file) for one in entry for file in one.files)

    def take(self, start: int, entry: list[Result]) -> None:
        """Hand the results on."""
        for place, one in enumerate(entry):
            self.use(start + place, one)
