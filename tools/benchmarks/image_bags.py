"""Peak memory and CPU time of a training step on studies of images: all at once, against chunks and checkpointing.

4 studies of 36 images of 128 px, ResNet-18, concat-tile head; the first column is the plain step. Each variant runs in
a process of its own: largest resident memory less that before the step (on a GPU: largest allocated memory).

Commands: ``OMP_NUM_THREADS=1 python tools/benchmark.py image_bags``; ``--device cuda`` for a GPU.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterator

import torch
from mmpretrain.structures import DataSample

from benchmarks.timing import Row
from benchmarks.volumes import held_mib, peak_mib
from medkit.models.mil import ImageBagClassifier

STUDIES, IMAGES, SIDE = 4, 36, 128
BACKBONE = dict(type="mmpretrain.ResNet", depth=18, norm_cfg=dict(type="BN"))
HEAD = dict(type="medkit.ConcatTileMIL", in_channels=512, num_classes=2)
VARIANTS = {
    "chunks of 16 alone": dict(chunk_size=16),
    "checkpointing alone": dict(checkpointing=True),
    "checkpointing, chunks of 16": dict(checkpointing=True, chunk_size=16),
    "checkpointing, chunks of 4": dict(checkpointing=True, chunk_size=4),
    "frozen BN": dict(frozen_bn=True),
    "frozen BN, checkpointing, chunks of 16": dict(frozen_bn=True, checkpointing=True, chunk_size=16),
    "frozen backbone, chunks of 16": dict(frozen=True, chunk_size=16),
}


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Memory and time of each variant beside the plain step, medians of up to 3 runs."""
    runs = min(args.repeats, 3)
    base_mib, base_ms = medians({}, args.device, runs)
    for name, options in VARIANTS.items():
        mib, ms = medians(options, args.device, runs)
        yield Row(f"{name}, memory", base_mib, mib, "MiB")
        yield Row(f"{name}, time", base_ms, ms)


def medians(options: dict, device: str, runs: int) -> tuple[float, float]:
    """MiB and ms; resident memory varies by some tens of MiB."""
    found = [in_a_process(options, device) for _ in range(runs)]
    return statistics.median(mib for mib, _ in found), statistics.median(ms for _, ms in found)


def in_a_process(options: dict, device: str) -> tuple[float, float]:
    """MiB and ms of `measure`; a process of its own, because the largest memory of one never falls."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (options, device))


def measure(options: dict, device: str) -> tuple[float, float]:
    """Peak memory of a step in MiB, without the weights, and its CPU time in ms."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ImageBagClassifier(BACKBONE, HEAD, **options).to(device).train()
    step(model, 1, 2)  # libraries load what they need, gradients take their place
    before, start = held_mib(device), time.process_time()
    step(model, STUDIES, IMAGES)
    return peak_mib(device) - before, (time.process_time() - start) * 1e3


def step(model: ImageBagClassifier, studies: int, images: int) -> None:
    """Forward and backward."""
    model.zero_grad(set_to_none=False)
    data = dict(
        inputs=[torch.randint(0, 256, (images, 3, SIDE, SIDE), dtype=torch.uint8) for _ in range(studies)],
        data_samples=[DataSample().set_gt_label(number % 2) for number in range(studies)],
    )
    losses = model(**model.data_preprocessor(data, True), mode="loss")
    sum(losses.values()).backward()
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()
