"""Run a function over many argument tuples, here or in several processes, in the order of the input."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from .errors import DataPrepError

Result = TypeVar("Result")


def run_all(function: Callable[..., Result], arguments: Sequence[tuple], jobs: int) -> list[Result]:
    """``[function(*one) for one in arguments]``, spread over ``jobs`` processes."""
    if jobs <= 1 or len(arguments) < 2:
        return [function(*one) for one in arguments]
    context = multiprocessing.get_context("spawn")  # fork is unsafe beside OpenCV's threads
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            return list(pool.map(_Call(function), arguments, chunksize=max(1, min(32, len(arguments) // (4 * jobs)))))
    except BrokenProcessPool as error:
        raise DataPrepError(f"a worker process died ({error}); is memory short? try a smaller --jobs") from error


class _Call:
    """Picklable ``function(*arguments)``."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    def __call__(self, arguments: tuple):
        return self.function(*arguments)
