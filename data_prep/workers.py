"""Run a function over many chunks of arguments in any ``concurrent.futures`` executor, a bounded number at a time."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2

from .errors import DataPrepError, InterruptedRun

Result = TypeVar("Result")
CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Crew:
    """An executor and how many tasks may wait in it at a time."""

    executor: Executor
    ahead: int


@dataclass(frozen=True)
class Cost:
    """What one task used: CPU seconds of its thread, peak memory (KiB) of its process, and which process."""

    cpu: float
    peak_kib: int
    process: str


class Here(Executor):
    """The executor of ``--jobs 1``: a task is done when ``submit`` returns."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call the function now."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def crew(jobs: int = 1, scheduler: str = "", executor: Executor | None = None) -> Iterator[Crew]:
    """The given executor, that of a Dask cluster, a pool of ``jobs`` processes, or this process.

    Raises:
        DataPrepError: the scheduler does not answer, or the package ``distributed`` is missing.
    """
    if executor is not None:
        yield Crew(executor, 2 * max(jobs, getattr(executor, "_max_workers", 1)))
    elif scheduler:
        with _dask(scheduler) as found:
            yield found
    elif jobs <= 1:
        yield Crew(Here(), 1)
    else:
        context = multiprocessing.get_context("spawn")  # fork is unsafe beside OpenCV's threads
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker)
        try:
            yield Crew(pool, 2 * jobs)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _dask(address: str) -> Iterator[Crew]:
    try:
        from distributed import Client
    except ImportError as error:
        raise DataPrepError("--scheduler needs the package distributed: pip install 'medkit[dask]'") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise DataPrepError(
            f"--scheduler {address}: no Dask scheduler answers ({why}); expected an address as in tcp://host:8786"
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        with client.get_executor(pure=False) as executor:
            yield Crew(executor, 2 * max(2, threads))


def start_worker() -> None:
    """Set up a worker process: one thread, deaf to Ctrl-C (the parent stops it), and gone when the parent is gone."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)


def stream(
    team: Crew, function: Callable[..., Result], chunks: Iterable[tuple[int, tuple]]
) -> Iterator[tuple[int, Result, Cost]]:
    """Yield (number, ``function(*arguments)``, cost) for every (number, arguments), in the order of completion.

    ``chunks`` is consumed as places become free, so it may be made up on the way.

    Raises:
        InterruptedRun: a worker died or the function raised.
    """
    waiting: dict[Future, int] = {}
    try:
        for number, arguments in chunks:
            waiting[team.executor.submit(_measured, function, arguments)] = number
            if len(waiting) >= team.ahead:
                yield from _finished(waiting)
        while waiting:
            yield from _finished(waiting)
    except (RuntimeError, OSError) as error:  # an executor that broke between two submits
        raise _interrupted(error) from error
    finally:
        for future in waiting:
            future.cancel()


def _finished(waiting: dict[Future, int]) -> Iterator[tuple[int, Any, Cost]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in sorted(done, key=waiting.__getitem__):
        number = waiting.pop(future)
        try:
            result, cost = future.result()
        except DataPrepError:
            raise
        except Exception as error:
            raise _interrupted(error) from error
        yield number, result, cost


def _interrupted(error: Exception) -> InterruptedRun:
    why = " ".join(str(error).split()) or "no message"
    return InterruptedRun(f"a worker failed ({type(error).__name__}: {why}); is memory short? try a smaller --jobs")


def _measured(function: Callable[..., Result], arguments: tuple) -> tuple[Result, Cost]:
    """Call the function in the worker and measure it."""
    start = time.thread_time()
    result = function(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_kib = peak // 1024 if sys.platform == "darwin" else peak
    return result, Cost(time.thread_time() - start, peak_kib, this_process())


def this_process() -> str:
    """Machine and number of the running process."""
    return f"{os.uname().nodename}:{os.getpid()}"


def run_all(function: Callable[..., Result], arguments: Sequence[tuple], jobs: int) -> list[Result]:
    """``[function(*one) for one in arguments]``, spread over ``jobs`` processes."""
    size = max(1, min(32, len(arguments) // (4 * jobs)))
    chunks = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    with crew(jobs if len(arguments) > 1 else 1) as team:
        tasks = ((number, (function, chunk)) for number, chunk in enumerate(chunks))
        found = {number: results for number, results, _ in stream(team, _each, tasks)}
    return [result for number in range(len(chunks)) for result in found[number]]


def _each(function: Callable[..., Result], arguments: Sequence[tuple]) -> list[Result]:
    return [function(*one) for one in arguments]
