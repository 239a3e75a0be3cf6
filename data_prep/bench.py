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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from .dedup import find_pairs
from .hashing import hash_file, phash, turned_hashes
from .images import decode, to_grey
from .probe import THUMB, Probe, probe
from .search import near_pair_blocks, near_pairs

SIZE = (640, 480)
Way = Callable[[], object]


def sector_frame(seed: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """Grey frame (H, W) uint8: a sector with smooth structure and speckle on black."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 170, (7, 9)).astype(np.float32)
    tissue = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.rayleigh(1.0, (height, width)).astype(np.float32), (0, 0), 1.2)
    corners = np.array([(0.42, 0.06), (0.58, 0.06), (0.95, 0.75), (0.5, 0.96), (0.05, 0.75)]) * (width, height)
    mask = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), corners.astype(np.int32), 1)
    return (np.clip(tissue * grain / 1.25, 8, 255) * mask).astype(np.uint8)


def write_frames(folder: Path, count: int) -> dict[str, list[str]]:
    """JPEG files (quality 90) by kind: grey and colour."""
    files: dict[str, list[str]] = {"grey": [], "colour": []}
    for seed in range(count):
        frame = sector_frame(seed)
        for kind, pixels in (("grey", frame), ("colour", cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))):
            path = folder / f"{kind}{seed}.jpg"
            cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
            files[kind].append(str(path))
    return files


def rounds(
    ways: Mapping[str, Way], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of every way in every round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if number:
                seconds[name].append(clock() - start)
    return seconds


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


def imagehash_of(path: str) -> int:
    """The hash of a file by imagehash, as it is used."""
    import imagehash
    from PIL import Image

    with Image.open(path) as image:
        return int(str(imagehash.phash(image)), 16)


def exact_of(path: str) -> int:
    """Our hash of the whole frame, decoded wholly: equal to imagehash's."""
    return phash(to_grey(decode(Path(path)).pixels))


def hash_ways() -> dict[str, Callable[[str], int]]:
    """Ways from a file to a hash, imagehash first."""
    ways: dict[str, Callable[[str], int]] = {"imagehash.phash, whole frame": imagehash_of}
    ways["phash, whole frame, equal to the bit"] = exact_of
    for reduce in (1, 4, 8):
        ways[f"hash_file, whole frame, 1/{reduce}"] = partial(hash_file, reduce=reduce, scan_only=False)
    for reduce in (1, 2, 4):
        ways[f"hash_file, scan area, 1/{reduce}"] = partial(hash_file, reduce=reduce)
    ways["probe: all that the pipeline looks at"] = _probed
    return ways


def _probed(path: str) -> int:
    return probe(path, 0).hash


def _each(way: Callable[[str], int], paths: Sequence[str]) -> list[int]:
    return [way(path) for path in paths]


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
        runs = {name: partial(_each, way, paths) for name, way in ways.items()}
        title = f"file to hash, {SIZE[0]}x{SIZE[1]} {kind} JPEG, {len(paths)} images"
        print_rounds(title, rounds(runs, repeats), len(paths), "ms/image", extra)


def hash_many(paths: Sequence[str]) -> int:
    """A worker's share."""
    cv2.setNumThreads(1)
    return len([hash_file(path, 4, False) for path in paths])


def _shared(pool: ProcessPoolExecutor, shares: Sequence[Sequence[str]]) -> list[int]:
    return list(pool.map(hash_many, shares))


def bench_cores(paths: Sequence[str], jobs: int, repeats: int) -> None:
    """Rate by number of processes; every process hashes as many files as the single one."""
    share = list(paths) * max(1, 400 // len(paths))
    ways: dict[str, Way] = {}
    pools = [ProcessPoolExecutor(number, get_context("spawn")) for number in range(1, jobs + 1)]
    for number, pool in enumerate(pools, start=1):
        ways[f"{number} x {len(share)} files"] = partial(_shared, pool, [share] * number)
    seconds = rounds(ways, repeats, time.perf_counter)
    for pool in pools:
        pool.shutdown()
    one = statistics.median(next(iter(seconds.values())))
    rates = {
        name: f"{number * len(share) / statistics.median(values):.0f} images/s, "
        f"{number * one / statistics.median(values):.2f} times one process"
        for number, (name, values) in enumerate(seconds.items(), start=1)
    }
    print_rounds("processes, hash_file 1/4", seconds, 1, "s", rates)


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    """Hashes (N,) uint64, a tenth of them with a partner some bits away."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for start in range(6):
        hashes[1::10] = hashes[::10][: len(hashes[1::10])] if start == 0 else hashes[1::10]
        bit = np.uint64(1) << rng.integers(0, 64, len(hashes[1::10])).astype(np.uint64)
        hashes[1::10] ^= np.where(rng.random(len(bit)) < 0.7, bit, np.uint64(0))
    return hashes


def _imagededup(hashes: np.ndarray, distance: int) -> int:
    import logging

    logging.disable(logging.INFO)
    from imagededup.methods import PHash

    names = {str(number): f"{value:016x}" for number, value in enumerate(hashes.tolist())}
    found = PHash(verbose=False).find_duplicates(
        encoding_map=names, max_distance_threshold=distance, num_dist_workers=0
    )
    return sum(map(len, found.values())) // 2


def _faiss(hashes: np.ndarray, distance: int) -> int:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryMultiHash(64, 4, 16)
    index.nflip = distance // 4
    codes = hashes.view(np.uint8).reshape(-1, 8)
    index.add(codes)
    limits, _, _ = index.range_search(codes, distance + 1)
    return (int(limits[-1]) - len(hashes)) // 2


def search_ways(hashes: np.ndarray, distance: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Those that are installed, one core each."""
    yield "near_pairs", lambda: len(near_pairs(hashes, distance))
    for name, way in (("imagededup", _imagededup), ("faiss", _faiss)):
        try:
            __import__(name)
        except ImportError:
            print(f"{name} is not installed: pip install {'faiss-cpu' if name == 'faiss' else name} to compare")
            continue
        yield name, partial(way, hashes, distance)


def bench_search(counts: Sequence[int], distances: Sequence[int], repeats: int, most: int) -> None:
    """Tables of the time to find all pairs; others than ours take part up to ``most`` hashes."""
    for count in counts:
        hashes = random_hashes(count)
        for distance in distances:
            ways = dict(search_ways(hashes, distance) if count <= most else [next(search_ways(hashes, distance))])
            pairs = {name: f"{way()} pairs" for name, way in ways.items()}
            title = f"all pairs of {count} hashes within {distance} bits"
            print_rounds(title, rounds(ways, repeats), 1, "s", pairs)


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
    shared = _smooth(rng, 4, 4)
    with tempfile.TemporaryFile() as handle:
        handle.truncate(count * THUMB * THUMB)
        thumbs = np.memmap(handle, np.uint8, "r+", shape=(count, THUMB, THUMB))  # type: ignore[call-overload]
    for start in range(0, count, 4096):
        size = min(4096, count - start)
        own = np.stack([_smooth(rng, 5, 6) for _ in range(size)])
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


def _smooth(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    field = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(field, (THUMB, THUMB), interpolation=cv2.INTER_CUBIC))


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
    add("--hashes", default="10000,100000", help="numbers of hashes to search, with commas between")
    add("--distances", default="6,12")
    add("--others-up-to", type=int, default=10_000, help="imagededup and FAISS search up to so many hashes")
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
        bench_search(counts, distances, args.repeats, args.others_up_to)
        bench_crowd(counts[-1], min(20_000, counts[-1] // 5))
    if args.whole and args.only in (None, "whole"):
        bench_whole(args.whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
