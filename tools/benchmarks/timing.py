"""The one way in which all subjects measure."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table: the same work done by the baseline and by medkit."""

    name: str
    base: float
    ours: float
    unit: str = "ms"


def median_ms(call: Callable[[], object], repeats: int, warm: int = 3) -> float:
    """Median wall time of one call after ``warm`` to warm up; waits for the device where there is one."""
    import torch

    times = []
    for index in range(repeats + warm):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if index >= warm:
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3
