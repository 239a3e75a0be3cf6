"""Intensity: grey stays grey, black stays black, the table is what it says; standardised images are alike."""

import cv2
import numpy as np
import pytest

from medkit.data.transforms import StandardizeIntensity, UltrasoundIntensity
from medkit.data.transforms.intensity import intensity_table
from medkit.errors import ConfigError
from medkit.registry import TRANSFORMS


@pytest.fixture
def ramp() -> np.ndarray:
    return np.tile(np.arange(256, dtype=np.uint8), (4, 1))


def test_neutral_settings_change_nothing():
    np.testing.assert_array_equal(intensity_table(0, 1, 1), np.arange(256))


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.2])
@pytest.mark.parametrize("slope", [0.7, 1.3])
@pytest.mark.parametrize("gamma", [0.7, 1.5])
def test_table_keeps_the_order_and_black(shift, slope, gamma):
    table = intensity_table(shift, slope, gamma).astype(int)
    assert table[0] == 0
    assert (np.diff(table) >= 0).all()
    level = 128 / 255
    assert table[128] == pytest.approx(np.clip((level**gamma - 0.5) * slope + 0.5 + shift, 0, 1) * 255, abs=1)


def test_without_fade_black_moves():
    assert intensity_table(0.2, 1, 1, fade=0)[0] == 51


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_grey_stays_grey_and_shape_and_type_stay(ramp, channels):
    np.random.seed(0)
    image = ramp if channels is None else np.repeat(ramp[..., None], channels, axis=2)
    out = TRANSFORMS.build(dict(type="medkit.UltrasoundIntensity", prob=1.0))({"img": image.copy()})["img"]
    assert out.dtype == np.uint8
    assert out.shape[:2] == image.shape[:2]
    assert not np.array_equal(out.reshape(image.shape), image)
    if channels == 3:
        assert (out == out[..., :1]).all()


def test_input_is_not_written_to(ramp):
    before = ramp.copy()
    UltrasoundIntensity(prob=1.0)({"img": ramp})
    np.testing.assert_array_equal(ramp, before)


def test_prob_zero_is_identity_and_prob_half_is_both(ramp):
    np.random.seed(0)
    assert UltrasoundIntensity(prob=0.0)({"img": ramp})["img"] is ramp
    changed = [UltrasoundIntensity(prob=0.5)({"img": ramp})["img"] is not ramp for _ in range(100)]
    assert 30 < sum(changed) < 70


def test_seeded(ramp):
    outs = []
    for _ in range(2):
        np.random.seed(7)
        outs.append(UltrasoundIntensity(prob=1.0)({"img": ramp})["img"])
    np.testing.assert_array_equal(*outs)


def test_float_image_is_refused(ramp):
    with pytest.raises(ConfigError, match=r"image of float32; expected uint8"):
        UltrasoundIntensity()({"img": ramp.astype(np.float32)})


@pytest.mark.parametrize("settings", [{"gamma": (0, 1)}, {"gamma": (2, 1)}, {"contrast": 1.0}, {"prob": 2}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="UltrasoundIntensity got"):
        UltrasoundIntensity(**settings)


def test_one_pass_matches_the_formula_on_an_image():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    table = intensity_table(0.1, 1.2, 0.8)
    np.testing.assert_array_equal(cv2.LUT(image, table), table[image])


def test_standardised_images_differ_in_nothing_that_gain_sets():
    image = np.random.default_rng(0).integers(60, 120, (32, 32, 3)).astype(np.uint8)
    brighter = (image.astype(int) * 2 + 10).astype(np.uint8)
    first, second = (StandardizeIntensity(2.0)({"img": each})["img"].astype(int) for each in (image, brighter))
    assert np.abs(first - second).max() <= 1
    assert first.mean() == pytest.approx(127.5, abs=1) and first.std() == pytest.approx(127.5 / 2, abs=1)


def test_an_image_of_one_level_becomes_grey_and_wrong_input_is_named():
    flat = StandardizeIntensity()({"img": np.full((4, 4), 9, np.uint8)})["img"]
    np.testing.assert_array_equal(flat, 128)
    with pytest.raises(ConfigError, match="expected uint8"):
        StandardizeIntensity()({"img": np.zeros((4, 4), np.float32)})
    with pytest.raises(ConfigError, match="deviations=0"):
        StandardizeIntensity(0)
