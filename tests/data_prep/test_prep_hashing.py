import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from data_prep import hashing
from data_prep.errors import UnreadableImage
from data_prep.hashing import count_bits, hash_file, phash, quick_phash, turned_hashes
from data_prep.images import to_grey
from data_prep.scan import find_scan_area, scan_crop
from data_prep.verify import turn

from .conftest import sector


def bits_between(a: int, b: int) -> int:
    return bin(a ^ b).count("1")


def smooth(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 300, 2)
    small = rng.integers(0, 256, (rng.integers(2, 12), rng.integers(2, 12)), dtype=np.uint8)
    return cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("seed", range(40))
def test_phash_is_imagehash_to_the_bit(seed):
    grey = smooth(seed)
    assert f"{phash(grey):016x}" == str(imagehash.phash(Image.fromarray(grey)))


def test_the_quick_hash_is_nearly_the_exact_one():
    bits = [bits_between(quick_phash(grey), phash(grey)) for grey in map(sector, range(40))]
    assert max(bits) <= 6
    assert np.mean(bits) < 1


@pytest.mark.parametrize("reduce", [1, 2, 4, 8])
def test_a_file_hashed_at_reduced_size_stays_near_imagehash(tmp_path, reduce):
    for seed in range(5):
        path = tmp_path / f"{seed}.jpg"
        cv2.imwrite(str(path), sector(seed, 640, 480))
        expected = int(str(imagehash.phash(Image.open(path))), 16)
        assert bits_between(hash_file(path, reduce, scan_only=False), expected) <= 6
    grey = to_grey(np.asarray(Image.open(path)))
    assert bits_between(hash_file(path, 1), phash(scan_crop(grey, find_scan_area(grey)))) <= 6


def test_a_file_that_cannot_be_hashed_says_why(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    for name, reason in (("empty.jpg", "zero_bytes"), ("text.jpg", "not_an_image"), ("absent.jpg", "missing")):
        with pytest.raises(UnreadableImage, match=reason):
            hash_file(tmp_path / name)


def test_hashes_of_turned_versions_are_those_of_the_turned_pictures():
    thumbs = np.stack([cv2.resize(smooth(seed), (64, 64)) for seed in range(6)])
    found = turned_hashes(thumbs, block=4)
    for number in range(8):
        expected = [quick_phash(np.ascontiguousarray(turn(thumb, number))) for thumb in thumbs]
        assert max(map(bits_between, found[:, number].tolist(), expected)) <= 2
    assert found[:, 0].tolist() == [quick_phash(thumb) for thumb in thumbs]


def test_bit_count_without_numpy_2_is_the_same(monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**63, (5, 9), dtype=np.uint64)
    expected = [[bin(int(value)).count("1") for value in row] for row in values]
    assert count_bits(values).tolist() == expected
    monkeypatch.delattr(hashing.np, "bitwise_count", raising=False)
    assert count_bits(values).tolist() == expected
    out = np.empty(45, np.uint8)
    assert count_bits(values.ravel(), out).reshape(5, 9).tolist() == expected
