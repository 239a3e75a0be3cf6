"""Reinhard in L*a*b*: golden values, 8-bit against float, tissue only, sigma floor, slide scope, quarter turns."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from medkit.data.transforms.stain import (
    RandomQuarterTurn,
    ReinhardNormalize,
    lab_statistics,
    lab_to_rgb,
    reinhard,
    rgb_to_lab,
    slide_statistics,
    tissue_mask,
)
from medkit.errors import ConfigError, DatasetError

CLOSE = dict(rtol=1e-6, atol=1e-6)
TARGET = dict(mean=[65.0, 35.0, -20.0], std=[12.0, 12.0, 10.0])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[2] / "golden/reinhard_lab.npz") as arrays:
        return dict(arrays)


def statistics_of(rgb: np.ndarray, mask: np.ndarray | None = None):
    return lab_statistics(rgb_to_lab(rgb), np.ones(rgb.shape[:2], bool) if mask is None else mask)


def test_statistics_and_result_equal_golden(golden) -> None:
    source, target = golden["src"] / 255, golden["target"] / 255
    everywhere, mask = np.ones(source.shape[:2], bool), golden["tissue_mask"]
    for image, name in ((source, "src"), (target, "target")):
        mean, std = statistics_of(image)
        np.testing.assert_allclose(mean, golden[f"float_{name}_mean"], **CLOSE)
        np.testing.assert_allclose(std, golden[f"float_{name}_std"], **CLOSE)
    moved = reinhard(source, statistics_of(source), statistics_of(target), everywhere)
    np.testing.assert_allclose(moved, golden["float_out_rgb01"], **CLOSE)
    moved = reinhard(source, statistics_of(source, mask), statistics_of(target), mask)
    np.testing.assert_allclose(moved, golden["float_masked_out_rgb01"], **CLOSE)


def test_float32_stays_float32_and_close(golden) -> None:
    source, target = (golden[name].astype(np.float32) / 255 for name in ("src", "target"))
    everywhere = np.ones(source.shape[:2], bool)
    moved = reinhard(source, statistics_of(source), statistics_of(target), everywhere)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, golden["float_out_rgb01"], atol=1e-4)


def test_opencv_8_bit_differs_by_few_levels(golden) -> None:
    """The 8-bit path of other packages, written out here: close to ours, not equal."""
    source, target = (cv2.cvtColor(golden[name], cv2.COLOR_RGB2LAB).astype(float) for name in ("src", "target"))
    scale, shift = np.array([100 / 255, 1, 1]), np.array([0, 128, 128])
    source, target = (source - shift) * scale, (target - shift) * scale
    for values, name in ((source, "src"), (target, "target")):
        np.testing.assert_allclose(values.mean((0, 1)), golden[f"u8_{name}_mean"], atol=0.02)
    moved = (source - source.mean((0, 1))) * target.std((0, 1)) / source.std((0, 1)) + target.mean((0, 1))
    eight = cv2.cvtColor((moved / scale + shift).clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB).astype(int)
    assert np.abs(eight - golden["u8_out"]).max() <= 2
    difference = np.abs(eight / 255 - golden["float_out_rgb01"]).max() * 255
    assert 1 < difference < 8


def test_lab_and_back() -> None:
    rgb = np.random.default_rng(0).random((50, 50, 3))
    np.testing.assert_allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=2e-5)  # CIE's constants are rounded
    np.testing.assert_allclose(rgb_to_lab(np.ones(3)), [100, 0, 0], atol=0.02)


def tile(level: int = 120, noise: float = 20, seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).normal([level + 50, level - 40, level + 20], noise, (32, 32, 3))
    image[:, 16:] = 250  # glass
    return image.clip(0, 255).astype(np.uint8)


def test_glass_is_left_alone_and_not_counted() -> None:
    image = tile()
    moved = ReinhardNormalize(TARGET, scope="tile")(dict(img=image.copy()))["img"]
    np.testing.assert_array_equal(moved[:, 16:], image[:, 16:])
    lab = rgb_to_lab(moved[..., ::-1].astype(np.float32) / 255)
    mean, std = lab_statistics(lab, np.arange(32)[None].repeat(32, 0) < 16)
    np.testing.assert_allclose(mean, TARGET["mean"], atol=0.7)  # uint8 and clipping
    np.testing.assert_allclose(std, TARGET["std"], atol=0.7)
    glass = np.full((8, 8, 3), 250, np.uint8)
    np.testing.assert_array_equal(ReinhardNormalize(TARGET, scope="tile")(dict(img=glass))["img"], glass)


def test_a_flat_tile_keeps_its_noise_small() -> None:
    flat = np.full((16, 16, 3), 120, np.uint8)
    flat[::2] += 1
    moved = ReinhardNormalize(TARGET, scope="tile")(dict(img=flat))["img"].astype(int)
    assert np.ptp(moved, axis=(0, 1)).max() < 20
    wild = ReinhardNormalize(TARGET, scope="tile", sigma_floor=1e-6)(dict(img=flat))["img"].astype(int)
    assert np.ptp(wild, axis=(0, 1)).max() > 20


def test_slide_scope_keeps_differences_between_tiles(tmp_path: Path) -> None:
    dark, light = tile(90), tile(150, seed=1)
    mean, std = slide_statistics([dark, light])
    both = np.concatenate([dark, light])
    expected = lab_statistics(lab := rgb_to_lab(both[..., ::-1].astype(np.float32) / 255), tissue_mask(lab))
    np.testing.assert_allclose([mean, std], expected, rtol=1e-4)
    path = tmp_path / "stains.json"
    path.write_text(json.dumps({"s1": dict(mean=mean.tolist(), std=std.tolist())}))
    by_slide, by_tile = ReinhardNormalize(TARGET, str(path)), ReinhardNormalize(TARGET, scope="tile")
    gaps = [
        np.ptp([float(move(dict(img=image.copy(), slide="s1"))["img"][:, :16].mean()) for image in (dark, light)])
        for move in (by_slide, by_tile)
    ]
    assert gaps[0] > 20 > 5 > gaps[1]
    with pytest.raises(DatasetError, match="slide 's2'"):
        by_slide(dict(img=dark, slide="s2"))


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="scope='tile' without one"):
        ReinhardNormalize(TARGET)
    with pytest.raises(ConfigError, match="expected dict"):
        ReinhardNormalize(dict(mean=[1, 2]), scope="tile")
    with pytest.raises(ConfigError, match="sigma_floor"):
        ReinhardNormalize(TARGET, scope="tile", sigma_floor=0)
    with pytest.raises(DatasetError, match="cannot be read"):
        ReinhardNormalize(TARGET, str(tmp_path / "none.json"))


def test_quarter_turns_reach_all_eight_positions() -> None:
    image, turn = np.arange(12).reshape(2, 2, 3), RandomQuarterTurn()
    np.random.seed(0)
    assert len({turn(dict(img=image))["img"].tobytes() for _ in range(200)}) == 8
