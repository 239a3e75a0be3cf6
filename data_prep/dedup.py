"""Near-duplicates: candidates by hash, verified on pixels, grouped, and one frame of each kept.

A candidate is a pair within ``distance`` bits of pHash, or of equal pixels. It is a near-duplicate when the
scan areas, shrunk to 64 x 64, correlate at least `MIN_CORRELATION` at some shift of up to six of those
pixels. Of two duplicates the better one stays: larger image, then more lesions, then fewer overlay pixels,
then the earlier file name. A frame is dropped only against a kept frame that it duplicates itself, never
through a chain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .boxes import iou
from .hashing import near_pairs
from .probe import Probe, thumb_of
from .records import Box, Record

DISTANCE = 12
MIN_CORRELATION = 0.88
SHIFT = 6
COARSE = 16
MIN_COARSE = 0.8
SAME_LESION_IOU = 0.25


@dataclass(frozen=True)
class Pair:
    """Two near-duplicates by their position in the list of records."""

    first: int
    second: int
    distance: int
    correlation: float


def find_pairs(
    probes: Sequence[Probe], distance: int = DISTANCE, min_correlation: float = MIN_CORRELATION
) -> list[Pair]:
    """All verified near-duplicate pairs. Flat frames take part by equal pixels only."""
    use = np.array([index for index, probe in enumerate(probes) if not probe.flat], np.int64)
    hashes = np.array([probes[index].hash for index in use], np.uint64)
    candidates = near_pairs(hashes, distance)
    candidates[:, :2] = use[candidates[:, :2]]
    found = {}
    for first, second, bits in candidates[coarse_filter(probes, candidates)].tolist():
        value = correlation(thumb_of(probes[first]), thumb_of(probes[second]))
        if value >= min_correlation:
            found[first, second] = Pair(first, second, bits, value)
    for first, second in _equal_pixels(probes):
        found[first, second] = Pair(first, second, 0, 1.0)
    return [found[key] for key in sorted(found)]


def coarse_filter(probes: Sequence[Probe], candidates: np.ndarray, block: int = 2048) -> np.ndarray:
    """Fast first check, (M,) bool: do candidate pairs (M, 2+) correlate at 16 x 16 pixels over shifts of one?

    Verified pairs of the phantom and of BUSI correlate at least 0.92 there.
    """
    used, place = np.unique(candidates[:, :2], return_inverse=True)
    thumbs = np.zeros((len(used), COARSE, COARSE), np.float32)
    for row, index in enumerate(used):
        thumbs[row] = cv2.resize(thumb_of(probes[index]), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    place = place.reshape(-1, 2)
    passed = np.zeros(len(candidates), bool)
    for start in range(0, len(candidates), block):
        first, second = thumbs[place[start : start + block].T]  # (block, 16, 16) each
        centre = _normalised(second[:, 1:-1, 1:-1])
        for y, x in np.ndindex(3, 3):
            window = _normalised(first[:, y : y + COARSE - 2, x : x + COARSE - 2])
            passed[start : start + block] |= (window * centre).sum(axis=1) >= MIN_COARSE
    return passed


def _normalised(images: np.ndarray) -> np.ndarray:
    """Images (M, h, w) as vectors (M, h * w) of mean zero and length one."""
    vectors = images.reshape(len(images), -1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def correlation(a: np.ndarray, b: np.ndarray, shift: int = SHIFT) -> float:
    """Largest normalised correlation of two thumbnails over shifts of up to ``shift`` pixels, gain aside."""
    centre = b[shift:-shift, shift:-shift]
    if not centre.any() or centre.std() < 1e-3:
        return 0.0
    return float(cv2.matchTemplate(a, centre, cv2.TM_CCOEFF_NORMED).max())


def _equal_pixels(probes: Sequence[Probe]) -> list[tuple[int, int]]:
    by_digest = defaultdict(list)
    for index, probe in enumerate(probes):
        by_digest[probe.pixel_digest].append(index)
    return [(group[0], other) for group in by_digest.values() for other in group[1:]]


def group_numbers(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """Union-find: the number of the connected group of each of ``count`` items, numbered by first member."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in links:
        a, b = root(first), root(second)
        parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(item), len(numbers)) for item in range(count)]


def drop_duplicates(records: Sequence[Record], probes: Sequence[Probe], pairs: Sequence[Pair]) -> None:
    """Drop label conflicts and all but the best of near-duplicates, and set `Record.group`, in place."""
    groups = group_numbers(len(records), [(pair.first, pair.second) for pair in pairs])
    for record, number in zip(records, groups, strict=True):
        record.group = number
    _drop_conflicts(records, pairs)
    partners: defaultdict[int, dict[int, Pair]] = defaultdict(dict)
    for pair in pairs:
        partners[pair.first][pair.second] = partners[pair.second][pair.first] = pair
    order = sorted((i for i in partners if records[i].kept), key=lambda i: _preference(records[i], probes[i]))
    stays: set[int] = set()
    for index in order:
        rivals = [pair for other, pair in partners[index].items() if other in stays]
        if not rivals:
            stays.add(index)
            continue
        pair = max(rivals, key=lambda p: (p.correlation, -p.distance, -p.first, -p.second))
        other = pair.first + pair.second - index
        _drop(records[index], records[other], pair, "near_duplicate")
        _note_lost_boxes(records[index], probes[index], records[other], probes[other])


def _preference(record: Record, probe: Probe) -> tuple:
    """Sort key, best first."""
    return -probe.width * probe.height, -len(record.lesions), probe.overlay_pixels, record.file


def _drop_conflicts(records: Sequence[Record], pairs: Sequence[Pair]) -> None:
    """Near-duplicates with different diagnoses: one is wrong and nobody knows which, so both go."""
    for pair in pairs:
        a, b = records[pair.first], records[pair.second]
        if a.diagnosis != b.diagnosis:
            for one, other in ((a, b), (b, a)):
                if one.kept:
                    _drop(one, other, pair, "label_conflict")
                    one.detail = f"{one.diagnosis} here, {other.diagnosis} there"


def _drop(record: Record, partner: Record, pair: Pair, reason: str) -> None:
    record.drop("duplicates", reason, partner=partner.file)
    record.distance, record.correlation = pair.distance, pair.correlation


def _note_lost_boxes(record: Record, probe: Probe, partner: Record, other: Probe) -> None:
    """Say in the report which boxes of a dropped frame its kept partner does not have."""
    theirs = [(lesion.label, relative_box(lesion.box, other.scan_box)) for lesion in partner.lesions]
    lost = []
    for lesion in record.lesions:
        box = relative_box(lesion.box, probe.scan_box)
        if not any(label == lesion.label and iou(box, kept) >= SAME_LESION_IOU for label, kept in theirs):
            lost.append(f"{lesion.label} [{' '.join(f'{value:.6g}' for value in lesion.box)}]")
    if lost:
        record.note("duplicates", "boxes_only_here", ", ".join(lost))


def relative_box(box: Box, frame: tuple[int, int, int, int]) -> Box:
    """Box in fractions of another box, so that frames of different size compare."""
    width, height = max(1, frame[2] - frame[0]), max(1, frame[3] - frame[1])
    return (
        (box[0] - frame[0]) / width,
        (box[1] - frame[1]) / height,
        (box[2] - frame[0]) / width,
        (box[3] - frame[1]) / height,
    )
