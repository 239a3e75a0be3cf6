"""Speed of hashing and search beside imagehash, and beside imagededup and FAISS where they are installed.

Command: ``python -m data_prep.bench [--jobs 2]``. All ways run in turn in one process, several times, and are
measured in CPU time (only the table of processes in wall time); the ratio is taken within each round. So a busy
machine disturbs little. The images are made here: a speckled sector of 640 x 480 as grey and as colour JPEG.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from .bench_ways import (
    SIZE,
    each,
    hash_ways,
    imagehash_of,
    random_hashes,
    search_ways,
    smooth_thumb,
    write_frames,
)
from .dedup import find_pairs
from .hashing import hash_file, turned_hashes
from .probe import THUMB, Probe, probe
from .search import near_pair_blocks

Way = Callable[[], object]


def rounds(
    ways: Mapping[str, Way], repeats: int, clock: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """Seconds of every way in every round, after one round to warm up."""
    clock = clock or cpu_seconds
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if number:
                seconds[name].append(clock() - start)
    return seconds


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children: imagededup searches in some."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def print_rounds(title: str, seconds: dict[str, list[float]], count: int, unit: str, extra: dict[str, str]) -> None:
    """A Markdown table; the first way is what the ratios refer to."""
    scale = {"ms/image": 1000 / count, "s": 1.0}[unit]
    base = next(iter(seconds.values()))
    print(f"\n| {title} | {unit} | lowest to highest | times faster | lowest to highest | |\n|---|---|---|---|---|---|")
    for name, values in seconds.items():
        ratios = [one / own for one, own in zip(base, values, strict=True)]
        print(
            f"| {name} | {statistics.median(values) * scale:.3f} | {min(values) * scale:.3f} to "
            f"{max(values) * scale:.3f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | "
            f"{extra.get(name, '')} |",
            flush=True,
        )


def bench_hashing(files: dict[str, list[str]], repeats: int) -> None:
    """Tables of the time from file to hash."""
    for kind, paths in files.items():
        ways = hash_ways()
        expected = [imagehash_of(path) for path in paths]
        scan = [probe(path, 0).hash for path in paths]
        extra = {}
        for name, way in ways.items():
            truth = scan if "scan" in name or "probe" in name else expected
            bits = [bin(way(path) ^ right).count("1") for path, right in zip(paths, truth, strict=True)]
            extra[name] = f"{statistics.mean(bits):.2f} bits off, at most {max(bits)}"
        runs = {name: partial(each, way, paths) for name, way in ways.items()}
        title = f"file to hash, {SIZE[0]}x{SIZE[1]} {kind} JPEG, {len(paths)} images"
        print_rounds(title, rounds(runs, repeats), len(paths), "ms/image", extra)


def hash_many(paths: Sequence[str]) -> float:
    """A worker's share; returns its CPU seconds."""
    cv2.setNumThreads(1)
    start = time.process_time()
    for path in paths:
        hash_file(path, 4, False)
    return time.process_time() - start


def _shared(pool: ProcessPoolExecutor, shares: Sequence[Sequence[str]], cpu: list[float]) -> None:
    cpu[:] = pool.map(hash_many, shares)


def bench_cores(paths: Sequence[str], jobs: int, repeats: int) -> None:
    """Rate by number of processes, each with as many files as the single one, in wall time."""
    share = list(paths) * max(1, 400 // len(paths))
    pools = {number: ProcessPoolExecutor(number, get_context("spawn")) for number in range(1, jobs + 1)}
    cpu: dict[int, list[float]] = {number: [] for number in pools}
    ways = {f"{n} x {len(share)} files": partial(_shared, pool, [share] * n, cpu[n]) for n, pool in pools.items()}
    seconds = rounds(ways, repeats, time.perf_counter)
    extra = {}
    for (number, pool), (name, values) in zip(pools.items(), seconds.items(), strict=True):
        pool.shutdown()
        rate = number * len(share) / statistics.median(values)
        own = 1000 * sum(cpu[number]) / (number * len(share))
        extra[name] = f"{rate:.0f} images/s, {own:.3f} ms of CPU time per image in the last round"
    print_rounds("processes, hash_file 1/4", seconds, 1, "s", extra)


def bench_search(counts: Sequence[int], distances: Sequence[int], repeats: int, most: int) -> None:
    """Tables of the time to find all pairs; imagededup takes part up to ``most`` hashes, FAISS up to 7 bits."""
    for count in counts:
        hashes = random_hashes(count)
        for distance in distances:
            found: dict[str, str] = {}
            ways = {
                name: partial(_noted, found, name, way)
                for name, way in search_ways(hashes, distance)
                if not (name == "imagededup" and count > most) and not (name == "faiss" and distance > 7)
            }
            seconds = rounds(ways, repeats)
            print_rounds(f"all pairs of {count} hashes within {distance} bits", seconds, 1, "s", found)


def _noted(found: dict[str, str], name: str, way: Callable[[], int]) -> None:
    found[name] = f"{way()} pairs"


def bench_crowd(count: int, equal: int, distance: int = 6) -> None:
    """Time and memory where many hashes are equal."""
    hashes = random_hashes(count)
    hashes[:equal] = hashes[0]
    before, start = _peak_mib(), time.process_time()
    pairs = sum(len(block) for block in near_pair_blocks(hashes, distance))
    print(
        f"\n{count} hashes, {equal} of them equal, {distance} bits: {pairs} pairs in blocks, "
        f"{time.process_time() - start:.1f} s, peak memory {before:.0f} -> {_peak_mib():.0f} MiB"
    )


def bench_whole(count: int, distance: int = 12, seed: int = 0) -> None:
    """Search and verification together, on smooth random thumbnails with a part that all share.

    About 0.6 % of their pairs are candidates at 12 bits, as of the frames of the phantom.
    """
    rng = np.random.default_rng(seed)
    shared = smooth_thumb(rng, 4, 4)
    with tempfile.TemporaryFile() as handle:
        handle.truncate(count * THUMB * THUMB)
        thumbs = np.memmap(handle, np.uint8, "r+", shape=(count, THUMB, THUMB))  # type: ignore[call-overload]
    for start in range(0, count, 4096):
        size = min(4096, count - start)
        own = np.stack([smooth_thumb(rng, 5, 6) for _ in range(size)])
        grain = rng.normal(0, 6, own.shape)
        thumbs[start : start + size] = np.clip(110 + 45 * (shared + own) + grain, 0, 255)
    hashes = turned_hashes(thumbs)[:, 0].tolist()
    probes = [Probe(pixel_digest=number.to_bytes(16, "big"), hash=value) for number, value in enumerate(hashes)]
    before, start_time = _peak_mib(), time.process_time()
    candidates = sum(len(block) for block in near_pair_blocks(np.array(hashes, np.uint64), distance))
    searched = time.process_time() - start_time
    pairs = find_pairs(probes, thumbs, distance)
    print(
        f"\n{count} made-up frames, {distance} bits: {candidates} candidates in {searched:.1f} s; search and check on "
        f"pixels {time.process_time() - start_time - searched:.1f} s, {len(pairs)} pairs, "
        f"peak memory {before:.0f} -> {_peak_mib():.0f} MiB"
    )


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.bench", description="Speed of hashing and search.")
    add = parser.add_argument
    add("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes, at most")
    add("--images", type=int, default=40, help="images per kind")
    add("--repeats", type=int, default=5, help="rounds that count")
    add("--hashes", default="5000,100000", help="numbers of hashes to search, with commas between")
    add("--distances", default="6,12")
    add("--imagededup-up-to", type=int, default=5_000, help="imagededup searches up to so many hashes")
    add("--whole", type=int, default=20_000, help="frames for search and check together; 0 leaves it out")
    add("--only", choices=["hash", "search", "whole"], help="one part")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.only in (None, "hash"):
        with tempfile.TemporaryDirectory() as folder:
            files = write_frames(Path(folder), args.images)
            bench_hashing(files, args.repeats)
            bench_cores(files["colour"], args.jobs, args.repeats)
    if args.only in (None, "search"):
        counts, distances = ([int(one) for one in text.split(",")] for text in (args.hashes, args.distances))
        bench_search(counts, distances, args.repeats, args.imagededup_up_to)
        bench_crowd(counts[-1], min(20_000, counts[-1] // 5))
    if args.whole and args.only in (None, "whole"):
        bench_whole(args.whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
