import numpy as np
import pytest

from data_prep import search
from data_prep.search import between_blocks, choose_plan, near_pair_blocks, near_pairs, spread


def brute(hashes: np.ndarray, distance: int) -> list[tuple[int, int, int]]:
    values = hashes.tolist()
    return [
        (i, j, bits)
        for i, one in enumerate(values)
        for j in range(i + 1, len(values))
        if (bits := bin(one ^ values[j]).count("1")) <= distance
    ]


def crowded(seed: int, count: int = 300, flips: int = 8) -> np.ndarray:
    """Hashes in crowds round few centres, with equal ones among them."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 12, dtype=np.uint64)[rng.integers(0, 12, count)]
    for _ in range(flips):
        bit = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        hashes ^= np.where(rng.random(count) < 0.5, bit, np.uint64(0))
    return hashes


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 6, 7, 9, 12, 13, 20, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_near_pairs_finds_exactly_the_pairs_within_the_distance(seed, distance):
    hashes = crowded(seed, 120 if distance > 13 else 300)
    assert list(map(tuple, near_pairs(hashes, distance).tolist())) == brute(hashes, distance)


@pytest.mark.parametrize(
    "plan", [(4, 0, 3), (7, 0, 6), (4, 1, 7), (7, 1, 13), (5, 2, 14), (13, 0, 12), (16, 0, 15), None]
)
def test_every_plan_finds_the_same_pairs(monkeypatch, plan):
    chunks, radius, distance = plan or (0, 0, 10)
    monkeypatch.setattr(search, "choose_plan", lambda values, d: plan and (chunks, radius))
    monkeypatch.setattr(search, "TILE", (7, 50))
    monkeypatch.setattr(search, "LIMIT", 100)
    hashes = crowded(2)
    assert list(map(tuple, near_pairs(hashes, distance).tolist())) == brute(hashes, distance)


@pytest.mark.parametrize("count", [0, 1])
def test_no_pair_among_none_or_one(count):
    assert near_pairs(np.zeros(count, np.uint64), 64).shape == (0, 3)


def test_the_plan_fits_the_distance_and_the_buckets():
    rng = np.random.default_rng(0)
    even = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    for distance in range(13):
        plan = choose_plan(even, distance)
        assert plan is None or plan[0] * (plan[1] + 1) > distance
    assert choose_plan(even, 6) is not None
    assert choose_plan(even, 30) is None
    skewed = even >> np.uint64(50)  # all but the last 14 bits equal
    assert choose_plan(np.unique(skewed), 6) is None


def test_many_equal_hashes_come_in_small_blocks():
    hashes = np.full(3000, 77, np.uint64)
    hashes[::3] = 78
    sizes = [len(block) for block in near_pair_blocks(hashes, 6)]
    assert sum(sizes) == 3000 * 2999 // 2
    assert max(sizes) <= search.LIMIT + 3000


def test_variants_are_compared_with_later_images_only():
    hashes = crowded(3, 90)
    variants = np.ascontiguousarray(hashes[::-1])
    found = sorted(map(tuple, np.concatenate(list(between_blocks(hashes, variants, 9))).tolist()))
    expected = [
        (i, j, bits)
        for i in range(90)
        for j in range(i + 1, 90)
        if (bits := bin(int(hashes[i]) ^ int(variants[j])).count("1")) <= 9
    ]
    assert found == expected


def test_spread_runs_over_every_step_of_every_item():
    counts = np.array([0, 3, 0, 9, 1, 0])
    pieces = list(spread(counts, limit=4))
    expected = [(item, step) for item, count in enumerate(counts) for step in range(count)]
    assert [pair for piece in pieces for pair in zip(*(part.tolist() for part in piece), strict=True)] == expected
    assert [len(piece[0]) for piece in pieces] == [3, 9, 1]
