"""Loading: 8-bit as mmdet, 16-bit through a window, LoadResized equal to load and resize, cache or not."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.datasets.transforms import LoadAnnotations, Pad, RandomFlip, Resize

from medkit.data.transforms import LoadMedicalImage, LoadResized
from medkit.errors import ConfigError, DatasetError
from medkit.registry import TRANSFORMS

KEYS = ("img_shape", "ori_shape", "scale", "scale_factor", "keep_ratio")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write(path, image) -> str:
    assert cv2.imwrite(str(path), image)
    return str(path)


def speckle(rng, shape) -> np.ndarray:
    return cv2.GaussianBlur(rng.integers(0, 256, shape, dtype=np.uint8), (5, 5), 0)


def results_for(path, boxes) -> dict:
    instances = [{"bbox": box, "bbox_label": 0, "ignore_flag": 0} for box in boxes]
    return {"img_path": path, "img_id": 1, "instances": instances}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
def test_eight_bit_equals_mmdet(tmp_path, rng, suffix, shape):
    path = write(tmp_path / f"a{suffix}", speckle(rng, shape))
    mmcv_load = TRANSFORMS.build(dict(type="mmcv.LoadImageFromFile"))
    expected, result = mmcv_load({"img_path": path}), LoadMedicalImage()({"img_path": path})
    np.testing.assert_array_equal(result["img"], expected["img"])
    assert result["img_shape"] == expected["img_shape"] == result["ori_shape"]


def test_alpha_is_dropped(tmp_path, rng):
    path = write(tmp_path / "a.png", rng.integers(0, 256, (8, 9, 4), dtype=np.uint8))
    assert LoadMedicalImage()({"img_path": path})["img"].shape == (8, 9, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_is_windowed(tmp_path, suffix):
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # 12 bits of a detector
    path = write(tmp_path / f"a{suffix}", image)
    full = LoadMedicalImage(percentiles=(0, 100))({"img_path": path})["img"]
    assert full.dtype == np.uint8
    assert len(np.unique(full)) == 256
    assert (full == full[..., :1]).all()
    narrow = LoadMedicalImage(window=(1000, 1255))({"img_path": path})["img"][..., 0].ravel()
    np.testing.assert_array_equal(narrow[1000:1256], np.arange(256))
    assert narrow[:1000].max() == 0
    assert narrow[1256:].min() == 255


def test_constant_sixteen_bit_image_is_black(tmp_path):
    path = write(tmp_path / "a.png", np.full((8, 8), 700, dtype=np.uint16))
    assert LoadMedicalImage()({"img_path": path})["img"].max() == 0


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_undecodable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    for transform in (LoadMedicalImage(), LoadResized(scale=(32, 32), cache_dir=str(tmp_path / "cache"))):
        with pytest.raises(DatasetError, match=rf"broken\.png \({len(content)} bytes\) cannot be decoded"):
            transform({"img_path": str(path)})


def test_missing_file_is_named(tmp_path):
    for cache_dir in (None, str(tmp_path / "cache")):
        with pytest.raises(DatasetError, match=r"gone\.png cannot be read"):
            LoadResized(scale=(32, 32), cache_dir=cache_dir)({"img_path": str(tmp_path / "gone.png")})


@pytest.mark.parametrize("settings", [{"window": (5, 5)}, {"percentiles": (50, 20)}])
def test_impossible_window_is_refused(settings):
    with pytest.raises(ConfigError, match="expected"):
        LoadMedicalImage(**settings)


@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
@pytest.mark.parametrize("shape", [(48, 100), (99, 64, 3), (20, 30)])
@pytest.mark.parametrize("boxes", [[], [[10.0, 5, 30, 19]], [[0.0, 0, 5, 5], [20, 10, 90, 90]]])
@pytest.mark.parametrize("cached", [False, True])
def test_load_resized_equals_load_and_resize(tmp_path, rng, interpolation, shape, boxes, cached):
    path = write(tmp_path / "a.png", speckle(rng, shape))
    annotations = LoadAnnotations(with_bbox=True)
    load, resize = LoadMedicalImage(), Resize((40, 40), keep_ratio=True, interpolation=interpolation)
    expected = Compose([load, annotations, resize])(results_for(path, boxes))
    cache_dir = str(tmp_path / "cache") if cached else None
    ours = LoadResized(scale=(40, 40), cache_dir=cache_dir, interpolation=interpolation)
    for _ in range(2):  # the second time from the cache
        result = Compose([annotations, ours])(results_for(path, boxes))
        np.testing.assert_array_equal(result["img"], expected["img"])
        assert {k: result[k] for k in KEYS} == {k: expected[k] for k in KEYS}
        assert result["gt_bboxes"].tensor.tolist() == expected["gt_bboxes"].tensor.tolist()
        np.testing.assert_array_equal(result["homography_matrix"], expected["homography_matrix"])


def test_cache_spares_the_decode_and_sees_a_changed_file(tmp_path, rng, monkeypatch):
    path = write(tmp_path / "a.png", speckle(rng, (50, 60)))
    transform = LoadResized(scale=(32, 32), cache_dir=str(tmp_path / "cache"))
    first = transform({"img_path": path})["img"]
    first[:] = 0  # what a later transform does to its input must not reach the cache
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded again"))
        second = transform({"img_path": path})["img"]
        second[:] = 0
        assert transform({"img_path": path})["img"].any()
    write(tmp_path / "a.png", np.full((70, 60), 9, np.uint8))
    changed = transform({"img_path": path})
    assert changed["ori_shape"] == (70, 60)
    assert (changed["img"] == 9).all()
    other = LoadResized(scale=(16, 16), cache_dir=str(tmp_path / "cache"))({"img_path": path})
    assert other["img_shape"] == (16, 14)
    assert not list((tmp_path / "cache").glob("tmp*"))


def test_boxes_are_not_scaled_when_annotations_come_after(tmp_path, rng):
    path = write(tmp_path / "a.png", speckle(rng, (100, 100)))
    test_pipeline = [LoadResized(scale=(50, 50)), Pad(size=(64, 64)), LoadAnnotations(with_bbox=True)]
    result = Compose(test_pipeline)(results_for(path, [[10.0, 10, 90, 90]]))
    assert result["gt_bboxes"].tensor.tolist() == [[10, 10, 90, 90]]
    assert result["img"].shape == (64, 64, 3)


def test_letterbox_of_mmdet_pads_exactly_and_keeps_empty_boxes(tmp_path, rng):
    """mmdet's Resize, Pad and RandomFlip are good enough: no letterbox of our own."""
    path = write(tmp_path / "a.png", speckle(rng, (41, 97)))
    steps = [LoadAnnotations(with_bbox=True), LoadResized((64, 64)), Pad(size=(64, 64)), RandomFlip(prob=1.0)]
    result = Compose(steps)(results_for(path, []))
    assert result["img"].shape == (64, 64, 3)
    assert result["gt_bboxes"].tensor.shape == (0, 4)
    assert result["scale_factor"] == (64 / 97, 27 / 41)
