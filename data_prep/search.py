"""Exact search of all pairs of 64-bit hashes within a Hamming distance, on one core, in NumPy.

For small distances multi-index hashing (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with
multi-index hashing"): of hashes cut into ``m`` chunks, two that differ in at most ``d < m (r + 1)`` bits differ
in at most ``r`` bits of some chunk. Else, or where buckets are crowded, all pairs are compared by popcount, in
tiles that stay in the cache. The cheaper way is chosen by counting the bucket sizes; both find every pair.
Equal hashes are compared once. Timing: ``python -m data_prep.bench``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .hashing import count_bits

LIMIT = 1 << 19  # entries of the work arrays, which bounds memory
TILE = (64, 2048)  # rows and columns compared at once: 1 MiB of uint64
FEW = 8000  # hashes that are compared before a plan is made
TILE_NS, CANDIDATE_NS, LOOKUP_NS = 1.4, 22.0, 12.0  # measured costs; they only choose the way


def near_pairs(hashes: np.ndarray, distance: int) -> np.ndarray:
    """All pairs i < j whose hashes (N,) uint64 differ in at most ``distance`` bits: sorted rows (i, j, bits)."""
    found = list(near_pair_blocks(hashes, distance))
    pairs = np.concatenate(found) if found else np.zeros((0, 3), np.int64)
    pairs[:, :2].sort(axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def near_pair_blocks(hashes: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """The rows of `near_pairs`, in no particular order and either way round, in blocks of bounded size.

    Memory grows with N alone. Rows of one first image mostly come together.
    """
    if distance < 0 or len(hashes) < 2:
        return
    order = np.argsort(hashes, kind="stable")
    values, starts, counts = np.unique(np.asarray(hashes, np.uint64)[order], return_index=True, return_counts=True)
    yield from _equal(order, starts, counts)
    plan = choose_plan(values, distance)
    blocks = _all_pairs(values, distance) if plan is None else _multi_index(values, distance, *plan)
    for first, second, bits in blocks:
        yield from _members(order, starts, counts, first, second, bits)


def between_blocks(hashes: np.ndarray, variants: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Blocks of rows (i, j, bits), i < j, where hash i (N,) and the variant (N,) of j are near; by popcount."""
    count, tile = len(hashes), _Tile(distance)
    for start in range(0, count, TILE[0]):
        for left in range(start, count, TILE[1]):
            i, j, bits = tile.near(hashes[start : start + TILE[0]], variants[left : left + TILE[1]])
            rows = np.stack([i + start, j + left, bits], 1)
            rows = rows[rows[:, 1] > rows[:, 0]]
            if len(rows):
                yield rows


def choose_plan(values: np.ndarray, distance: int) -> tuple[int, int] | None:
    """(chunks, radius) of the cheapest multi-index search of different hashes, None where all pairs cost less."""
    best, plan = TILE_NS * len(values) ** 2 / 2, None
    if len(values) < FEW:
        return plan
    for radius in range(3):
        chunks = max(4, distance // (radius + 1) + 1)
        if chunks > 16:
            continue
        cost = 0.0
        for shift, width in _cuts(chunks):
            sizes = np.bincount(_key(values, shift, width), minlength=1 << width).astype(np.float64)
            flips = _flips(width, radius)
            cost += LOOKUP_NS * len(values) * len(flips)
            cost += CANDIDATE_NS * _candidates(sizes, flips)
            if cost >= best:
                break
        if cost < best:
            best, plan = cost, (chunks, radius)
    return plan


def _candidates(sizes: np.ndarray, flips: np.ndarray) -> float:
    """Number of pairs whose keys are equal or differ by one of the flips."""
    keys = np.arange(len(sizes))
    return float(sum((sizes * sizes[keys ^ flip]).sum() for flip in flips)) / 2


def _cuts(chunks: int) -> list[tuple[int, int]]:
    """(shift, width) of each chunk of 64 bits."""
    edges = [64 * number // chunks for number in range(chunks + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _key(values: np.ndarray, shift: int, width: int) -> np.ndarray:
    return ((values >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)


def _flips(width: int, radius: int) -> np.ndarray:
    """All numbers of ``width`` bits with at most ``radius`` bits set."""
    numbers = np.arange(1 << width, dtype=np.uint64)
    return numbers[count_bits(numbers) <= radius].astype(np.int64)


class _Tile:
    """Compares rows (R,) with columns (C,) in work arrays that are made once: new ones cost more than the work."""

    def __init__(self, distance: int) -> None:
        size = TILE[0] * TILE[1]
        self.distance = distance
        self.work = np.empty(size, np.uint64), np.empty(size, np.uint8), np.empty(size, bool)

    def near(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places (i, j) and bits of the pairs that are near."""
        size = len(rows) * len(columns)
        difference, bits, close = (work[:size] for work in self.work)
        np.bitwise_xor(rows[:, None], columns, out=difference.reshape(len(rows), len(columns)))
        bits = count_bits(difference, bits)
        place = np.flatnonzero(np.less_equal(bits, self.distance, out=close))
        i, j = np.divmod(place, len(columns))
        return i, j, bits[place].astype(np.int64)


def _all_pairs(values: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(first, second, bits) of near pairs of different hashes, tile by tile."""
    tile = _Tile(distance)
    for start in range(0, len(values), TILE[0]):
        for left in range(start, len(values), TILE[1]):
            i, j, bits = tile.near(values[start : start + TILE[0]], values[left : left + TILE[1]])
            i, j = i + start, j + left
            if left == start:
                later = j > i
                i, j, bits = i[later], j[later], bits[later]
            if len(i):
                yield i, j, bits


def _multi_index(
    values: np.ndarray, distance: int, chunks: int, radius: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The same by buckets; a pair that several chunks bring together counts at the first of them."""
    cuts = _cuts(chunks)
    for number, (shift, width) in enumerate(cuts):
        keys = _key(values, shift, width)
        order = np.argsort(keys, kind="stable")
        sizes = np.bincount(keys, minlength=1 << width)
        ends = np.cumsum(sizes)
        own, sorted_values = keys[order], values[order]
        for flip in _flips(width, radius).tolist():
            other = own ^ flip
            begin = ends[other] - np.where(own < other, sizes[other], 0) if flip else np.arange(1, len(own) + 1)
            for item, step in spread(ends[other] - begin):
                second = begin[item] + step
                difference = sorted_values[item] ^ sorted_values[second]
                bits = count_bits(difference)
                near = np.flatnonzero(bits <= distance)
                for low, size in cuts[:number]:
                    near = near[count_bits(_part(difference[near], low, size)) > radius]
                if len(near):
                    yield order[item[near]], order[second[near]], bits[near].astype(np.int64)


def _part(values: np.ndarray, shift: int, width: int) -> np.ndarray:
    return (values >> np.uint64(shift)) & np.uint64((1 << width) - 1)


def spread(counts: np.ndarray, limit: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(item, step) with every step 0..counts[item]-1 of every item, in pieces of about ``limit`` entries."""
    items = np.flatnonzero(counts)
    sizes = counts[items]
    ends = np.cumsum(sizes)
    start, done = 0, 0
    while start < len(items):
        stop = max(start + 1, int(np.searchsorted(ends, done + (limit or LIMIT), "right")))
        part = sizes[start:stop]
        first = np.repeat(ends[start:stop] - part - done, part)
        yield np.repeat(items[start:stop], part), np.arange(len(first)) - first
        start, done = stop, int(ends[stop - 1])


def _equal(order: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Rows (i, j, 0) of equal hashes."""
    ends = np.repeat(starts + counts, counts)
    for item, step in spread(ends - np.arange(len(order)) - 1):
        yield np.stack([order[item], order[item + 1 + step], np.zeros(len(item), np.int64)], 1)


def _members(
    order: np.ndarray, starts: np.ndarray, counts: np.ndarray, first: np.ndarray, second: np.ndarray, bits: np.ndarray
) -> Iterator[np.ndarray]:
    """Rows (i, j, bits) of all images that have the hashes of the pairs."""
    if counts[first].max() == 1 and counts[second].max() == 1:
        yield np.stack([order[starts[first]], order[starts[second]], bits], 1)
        return
    for pair, step in spread(counts[first]):
        one = order[starts[first[pair]] + step]
        for item, place in spread(counts[second[pair]]):
            yield np.stack([one[item], order[starts[second[pair[item]]] + place], bits[pair[item]]], 1)
