import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from data_prep import hashing
from data_prep.dedup import correlation, group_numbers
from data_prep.hashing import count_bits, near_pairs, phash


@pytest.mark.parametrize("seed", range(40))
def test_phash_is_imagehash_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 300, 2)
    small = rng.integers(0, 256, (rng.integers(2, 12), rng.integers(2, 12)), dtype=np.uint8)
    grey = cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
    assert f"{phash(grey):016x}" == str(imagehash.phash(Image.fromarray(grey)))


@pytest.mark.parametrize(("count", "distance", "block"), [(0, 5, 4), (1, 64, 4), (300, 20, 7), (300, 26, 1024)])
def test_near_pairs_finds_exactly_the_pairs_within_the_distance(count, distance, block):
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**63, count, dtype=np.uint64)
    expected = [
        (i, j, bits)
        for i in range(count)
        for j in range(i + 1, count)
        if (bits := bin(int(hashes[i]) ^ int(hashes[j])).count("1")) <= distance
    ]
    assert sorted(map(tuple, near_pairs(hashes, distance, block).tolist())) == expected


def test_bit_count_without_numpy_2_is_the_same(monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**63, (5, 9), dtype=np.uint64)
    expected = [[bin(int(value)).count("1") for value in row] for row in values]
    assert count_bits(values).tolist() == expected
    monkeypatch.delattr(hashing.np, "bitwise_count", raising=False)
    assert count_bits(values).tolist() == expected


def test_correlation_ignores_gain_and_small_shifts_and_sees_other_pictures():
    rng = np.random.default_rng(1)
    big = cv2.resize(rng.integers(30, 200, (10, 10), dtype=np.uint8), (80, 80), interpolation=cv2.INTER_CUBIC)
    thumb = big[8:72, 8:72]
    shifted = (big[5:69, 11:75] * 0.7 + 10).astype(np.uint8)
    other = cv2.resize(rng.integers(30, 200, (10, 10), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    assert correlation(thumb, shifted) > 0.99
    assert correlation(thumb, other) < 0.7
    assert correlation(thumb, np.zeros_like(thumb)) == 0.0


def test_groups_are_the_connected_components():
    assert group_numbers(6, [(4, 5), (0, 3), (3, 5)]) == [0, 1, 2, 0, 0, 0]
