"""Exact neighbours: medkit's search (faiss, proven in float64) against torch comparing with everything.

Both hold the bank ready; a batch of queries is timed. Cosine without and with the query's own group (as slides of
tiles) left out. Before timing, medkit's answer is checked against float64 on some queries, and torch's share of wrong
neighbours is printed.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.timing import Row, median_ms
from medkit.apis.neighbours import Neighbours
from medkit.evaluation.functional.neighbours import all_neighbours

DIMS, K, CHECKED, PER_GROUP = 128, 20, 20, 1000


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time one batch of queries for each metric, after checking the answers."""
    bank, groups = descriptors(args.rows, seed=0)
    queries, of_queries = descriptors(args.queries, seed=1)
    for metric, grouped in (("cosine", False), ("l2", False), ("cosine", True)):
        given = (groups, of_queries % (groups.max() + 1)) if grouped else (None, None)
        ours, base = Neighbours(bank, metric, given[0]), Baseline(bank, metric, given[0])
        check(bank, queries, ours, base, given)
        name = f"{len(bank):,} x {DIMS}, {len(queries):,} queries, {metric}{', own group out' * grouped}"
        calls = (lambda b=base, g=given: b.search(queries, g[1]), lambda o=ours, g=given: o.search(queries, K, g[1]))
        base_ms, ours_ms = (median_ms(call, args.repeats, warm=1) for call in calls)
        print(f"  CPU time of one batch: torch {cpu_seconds(calls[0]):.1f} s, medkit {cpu_seconds(calls[1]):.1f} s")
        print(f"  copy {ours.nbytes / 2**20:.0f} MiB; peak memory of the process {peak_gib():.1f} GiB")
        yield Row(name, base_ms, ours_ms)


class Baseline:
    """What one writes oneself: a matrix product and topk, in float32, 256 queries at a time."""

    def __init__(self, bank: np.ndarray, metric: str, groups: np.ndarray | None) -> None:
        self.metric, self.bank = metric, torch.from_numpy(bank)
        self.bank = torch.nn.functional.normalize(self.bank) if metric == "cosine" else self.bank
        self.squares = self.bank.square().sum(dim=1)
        self.groups = None if groups is None else torch.from_numpy(groups)

    def search(self, queries: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Indices (M, K)."""
        found = []
        for start in range(0, len(queries), 256):
            part = torch.from_numpy(queries[start : start + 256])
            if self.metric == "cosine":
                scores = torch.nn.functional.normalize(part) @ self.bank.T
            else:
                scores = 2 * part @ self.bank.T - self.squares
            if groups is not None:
                own = torch.from_numpy(groups[start : start + 256])
                scores[own[:, None] == self.groups] = -torch.inf
            found.append(scores.topk(K, dim=1).indices)
        return torch.cat(found).numpy()


def descriptors(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(num, 128) float32 descriptors with structure, rows of a group being alike, and their groups."""
    rng = np.random.default_rng(seed)
    groups = np.arange(num) // PER_GROUP if seed == 0 else rng.integers(0, 10**6, num)
    centres = np.random.default_rng(2).normal(size=(1009, DIMS)).astype(np.float32)
    noise = rng.standard_normal((num, DIMS), dtype=np.float32)
    return centres[groups % 1009] + 1.5 * noise, groups


def check(bank: np.ndarray, queries: np.ndarray, ours: Neighbours, base: Baseline, groups: tuple) -> None:
    """Stop where an index differs from float64's."""
    few, own = queries[:CHECKED], None if groups[1] is None else groups[1][:CHECKED]
    exclude = None if groups[0] is None else (groups[0], own)
    wanted = all_neighbours(bank, few, K, ours.metric, exclude)[1]
    if not np.array_equal(ours.search(few, K, own)[1], wanted):
        raise SystemExit("the neighbours differ from float64's: the times would mean nothing")
    print(f"  {CHECKED} queries equal float64's; torch alone: {(base.search(few, own) != wanted).mean():.2%} differ")


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of one call, which other processes on the machine change less than wall time."""
    start = time.process_time()
    call()
    return time.process_time() - start


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
