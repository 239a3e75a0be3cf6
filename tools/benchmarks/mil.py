"""Peak memory and CPU time of a training step of the bag heads: one bag of 2 500 instances against one of 10 000.

Features are 1 024 wide, sizes as published. A head that is linear in the bag shows a ratio of 0.25 (memory a little
more: the weights are there either way), a quadratic one 0.06. Gated ABMIL also gets 10 000 against 100 000.
Each measurement runs in a process of its own: largest resident memory less that before the bag was made (on a GPU:
largest allocated memory).

Commands: ``OMP_NUM_THREADS=1 python tools/benchmark.py mil``; ``--device cuda`` for a GPU.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator

import torch

from benchmarks.timing import Row
from benchmarks.volumes import held_mib, peak_mib
from medkit.registry import MODELS

HEADS = {
    "gated ABMIL": dict(type="medkit.ABMIL"),
    "CLAM-MB": dict(type="medkit.CLAM", multi_branch=True),
    "DSMIL": dict(type="medkit.DSMIL"),
    "TransMIL": dict(type="medkit.TransMIL"),
    "BiLSTM": dict(type="medkit.SequenceMIL"),
}
WIDTH = 1024
COUNTS, LARGE = (2500, 10_000), (10_000, 100_000)


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Memory and time of each head, and of the first with ten times as many instances."""
    for name, counts in [*((name, COUNTS) for name in HEADS), ("gated ABMIL", LARGE)]:
        (few_mib, few_ms), (many_mib, many_ms) = (in_a_process(HEADS[name], count, args.device) for count in counts)
        size = " and ".join(map(str, counts))
        yield Row(f"{name}, {size}: peak memory", few_mib, many_mib, "MiB")
        yield Row(f"{name}, {size}: one step", few_ms, many_ms)


def in_a_process(config: dict, count: int, device: str) -> tuple[float, float]:
    """MiB and ms of `measure`; a process of its own, because the largest memory of one never falls."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (config, count, device))


def measure(config: dict, count: int, device: str) -> tuple[float, float]:
    """Peak memory of a step in MiB, with the bag, and its CPU time in ms."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = MODELS.build(dict(in_channels=WIDTH, num_classes=2) | config).to(device)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-4)
    labels = torch.ones(1, dtype=torch.long, device=device)
    step(head, optimizer, torch.randn(1, 16, WIDTH, device=device), labels)  # libraries load what they need
    before = held_mib(device)
    feats, start = torch.randn(1, count, WIDTH, device=device), time.process_time()
    step(head, optimizer, feats, labels)
    return peak_mib(device) - before, (time.process_time() - start) * 1e3


def step(head: torch.nn.Module, optimizer: torch.optim.Optimizer, feats: torch.Tensor, labels: torch.Tensor) -> None:
    """One training step."""
    optimizer.zero_grad()
    sum(head.loss(head(feats), labels).values()).backward()
    optimizer.step()
    if feats.is_cuda:
        torch.cuda.synchronize()
