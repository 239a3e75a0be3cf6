"""Views of images with saliency maps: geometry is shared, colours are not, values are torchvision's."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from PIL import Image
from torchvision.transforms import functional as tv

from medkit.data import SaliencyImages
from medkit.data.transforms import LoadSaliency, PackSaliencyViews, SaliencyTwoViews, photometric
from medkit.data.transforms.saliency import draw_crop
from medkit.errors import ConfigError, DatasetError
from tests.graded import draw_fundus, write_graded

NO_COLOUR = dict(jitter_prob=0, grey_prob=0, blur_prob=(0, 0), solarize_prob=(0, 0))


def picture(size: int = 90) -> np.ndarray:
    rng = np.random.default_rng(3)
    return cv2.resize(rng.integers(1, 256, (15, 17, 3)).astype(np.uint8), (size + 20, size))


@pytest.mark.parametrize("seed", range(20))
def test_image_and_map_share_all_geometry(seed: int) -> None:
    np.random.seed(seed)
    grey = picture()[..., 0]
    views = SaliencyTwoViews(48, **NO_COLOUR).transform(dict(img=cv2.merge([grey] * 3), saliency=grey))["views"]
    for image, found in views:
        assert image.shape == (48, 48, 3) and found.shape == (48, 48)
        assert all(np.array_equal(image[..., channel], found) for channel in range(3))
    assert not np.array_equal(views[0][1], views[1][1])  # each view draws its own


def test_colours_leave_the_map_alone() -> None:
    np.random.seed(0)
    still = dict(crop_scale=((1, 1), (1, 1)), crop_ratio=(1, 1), rotation=0, hflip_prob=0, vflip_prob=0)
    image = picture()[:, :90]
    transform = SaliencyTwoViews(90, **still, solarize_prob=(1, 1), blur_prob=(1, 1))
    for changed, found in transform.transform(dict(img=image, saliency=image[..., 0]))["views"]:
        assert np.array_equal(found, image[..., 0]) and not np.array_equal(changed, image)


def test_probabilities_and_the_two_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(["jitter_colours", "to_grey", "blur", "solarize"], 0)

    def counting(name: str):
        def count(image, *args):
            counts[name] += 1
            return image

        return count

    for name in counts:
        monkeypatch.setattr(f"medkit.data.transforms.saliency.{name}", counting(name))
    np.random.seed(0)
    transform, image = SaliencyTwoViews(8), picture(20)
    for number, expected in ((0, (0.8, 0.2, 1.0, 0.0)), (1, (0.8, 0.2, 0.1, 0.2))):
        counts.update(dict.fromkeys(counts, 0))
        for _ in range(2000):
            transform._view(image, image[..., 0], number)
        assert [count / 2000 for count in counts.values()] == pytest.approx(expected, abs=0.035)


def test_crops_have_the_wanted_area_and_ratio() -> None:
    np.random.seed(0)
    boxes = np.array([draw_crop((200, 300), (0.08, 0.8), (3 / 4, 4 / 3)) for _ in range(2000)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    share = width * height / 60000
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 300 and boxes[:, 3].max() <= 200
    assert 0.075 < share.min() < 0.1 and 0.7 < share.max() < 0.81
    assert (width / height).min() > 0.73 and (width / height).max() < 1.36
    assert draw_crop((10, 1000), (1, 1), (3 / 4, 4 / 3)) == (493, 0, 506, 10)  # no such box: the centre


def test_ultrasound_stays_upright() -> None:
    np.random.seed(0)
    ramp = np.repeat(np.arange(60, dtype=np.uint8)[:, None] * 4, 80, 1)
    transform = SaliencyTwoViews(32, rotation=0, vflip_prob=0, **NO_COLOUR)
    for _ in range(20):
        for _, found in transform.transform(dict(img=cv2.merge([ramp] * 3), saliency=ramp))["views"]:
            assert (np.diff(found.astype(int), axis=0) >= 0).all() and not np.diff(found.astype(int), axis=1).any()


@pytest.mark.parametrize(
    "ours, theirs, tolerance",
    [
        (lambda x: photometric.scale_about(x, 1.3, 0), lambda x: tv.adjust_brightness(x, 1.3), 1),
        (lambda x: photometric.solarize(x), lambda x: tv.solarize(x, 128), 0),
        (lambda x: photometric.to_grey(x), lambda x: tv.rgb_to_grayscale(x, 3), 1),
        (lambda x: photometric.shift_hue(x, 0.1), lambda x: tv.adjust_hue(x, 0.1), 12),
    ],
)
def test_colours_are_those_of_torchvision(ours, theirs, tolerance: int) -> None:
    image, _ = draw_fundus(np.random.default_rng(0), 96, 3)
    expected = np.asarray(theirs(Image.fromarray(image[..., ::-1])))
    assert np.abs(ours(image)[..., ::-1].astype(int) - expected).max() <= tolerance


def test_blur_has_the_sigma_asked_for() -> None:
    spot = np.zeros((41, 41, 3), np.uint8)
    spot[16:25, 16:25] = 255  # 9 pixels: variance 80 / 12
    spread = photometric.blur(spot, 2.0)[..., 0].astype(float)
    offset = np.arange(41) - 20
    assert (spread.sum(0) @ offset**2 / spread.sum() - 80 / 12) ** 0.5 == pytest.approx(2.0, abs=0.1)


def test_pipeline_gives_the_batch_that_the_model_takes(tmp_path: Path) -> None:
    np.random.seed(0)
    names = ("LoadMedicalImage", "LoadSaliency", "SaliencyTwoViews", "PackSaliencyViews")
    pipeline = [dict(type=f"medkit.{name}") for name in names]
    pipeline[2]["size"] = 32
    dataset = SaliencyImages("labels.csv", data_root=str(write_graded(tmp_path, num=8)), pipeline=pipeline)
    batch = default_collate([dataset[i] for i in range(4)])
    assert set(batch) == {"inputs", "saliency"} and len(batch["inputs"]) == len(batch["saliency"]) == 2
    for image, found in zip(batch["inputs"], batch["saliency"], strict=True):
        assert image.shape == (4, 3, 32, 32) and image.dtype == torch.uint8
        assert found.shape == (4, 1, 32, 32) and found.dtype == torch.float32 and 0 < found.max() <= 1


def test_a_map_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    results = dict(img=np.zeros((8, 9, 3), np.uint8), img_path="a.jpg", map_path=str(path))
    path.write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"map\.png cannot be decoded; expected 9 x 8"):
        LoadSaliency().transform(results)
    cv2.imwrite(str(path), np.zeros((4, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"map\.png is 5 x 4; expected 9 x 8 as its image a\.jpg"):
        LoadSaliency().transform(results)


@pytest.mark.parametrize(
    "wrong", [dict(size=0), dict(crop_scale=((0, 1), (1, 1))), dict(rotation=200), dict(blur_prob=(1, 2))]
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="SaliencyTwoViews"):
        SaliencyTwoViews(**wrong)


def test_maps_become_shares_of_one() -> None:
    view = np.zeros((2, 2, 3), np.uint8), np.array([[0, 255], [51, 0]], np.uint8)
    packed = PackSaliencyViews().transform(dict(views=[view, view]))
    assert torch.equal(packed["saliency"][0], torch.tensor([[[0.0, 1.0], [0.2, 0.0]]]))
