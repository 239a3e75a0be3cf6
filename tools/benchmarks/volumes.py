"""Peak memory and time of a training step of the 3-D autoencoder: plain against checkpointing and bfloat16.

One volume of 128^3, metric learning off, the published layer plan. Each variant runs in a process of its own, whose
largest resident memory less that before the step is shown (on a GPU: the largest allocated memory). Times are CPU time.
``--side`` changes the volume, ``--device`` the device.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.timing import Row
from medkit.models.volumes import ConvAutoencoder3D

VARIANTS = {
    "checkpointing": dict(checkpointing=True, bf16=False),
    "bfloat16": dict(checkpointing=False, bf16=True),
    "checkpointing and bfloat16": dict(checkpointing=True, bf16=True),
}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Memory of each variant beside that of the plain model, then the times."""
    base_mib, base_ms = in_a_process(args.side, args.device, checkpointing=False, bf16=False)
    times = []
    for name, options in VARIANTS.items():
        mib, ms = in_a_process(args.side, args.device, **options)
        yield Row(f"{name}, {args.side}^3, peak memory", base_mib, mib, "MiB")
        times.append(Row(f"{name}, {args.side}^3, one step", base_ms, ms))
    yield from times


def in_a_process(side: int, device: str, **options: bool) -> tuple[float, float]:
    """MiB and ms of `measure`; a process of its own, because the largest memory of one never falls."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (side, device), options)


def measure(side: int, device: str, checkpointing: bool, bf16: bool) -> tuple[float, float]:
    """Peak memory of a step in MiB and its CPU time in ms."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ConvAutoencoder3D(checkpointing=checkpointing).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    step(model, optimizer, torch.rand(1, 1, 16, 16, 16, device=device), bf16)  # libraries load what they need
    volumes = torch.rand(1, 1, side, side, side, device=device)
    before, start = held_mib(device), time.process_time()
    step(model, optimizer, volumes, bf16)
    return peak_mib(device) - before, (time.process_time() - start) * 1e3


def step(model: ConvAutoencoder3D, optimizer: torch.optim.Optimizer, volumes: torch.Tensor, bf16: bool) -> None:
    """One training step."""
    with torch.autocast(volumes.device.type, dtype=torch.bfloat16, enabled=bf16):
        loss = model(volumes, mode="loss")["loss_recon"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if volumes.is_cuda:
        torch.cuda.synchronize()


def held_mib(device: str) -> float:
    """Memory held now."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mib(device: str) -> float:
    """Largest memory so far."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
