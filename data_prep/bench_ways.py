"""What `data_prep.bench` measures with: frames, hashes, and the ways to hash and to search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .hashing import hash_file, phash
from .images import decode, to_grey
from .probe import THUMB, probe
from .search import near_pairs

SIZE = (640, 480)


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


def smooth_thumb(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Smooth random thumbnail in -1..1."""
    field = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(field, (THUMB, THUMB), interpolation=cv2.INTER_CUBIC))


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


def each(way: Callable[[str], int], paths: Sequence[str]) -> list[int]:
    """The hashes of all files."""
    return [way(path) for path in paths]


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
