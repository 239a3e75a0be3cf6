"""The Predictor: numbers of tools/test.py, arrays and paths, thresholds, half precision, mirrored views, refusals."""

import json

import cv2
import numpy as np
import pytest
import torch

from medkit.apis.config import load_config
from medkit.apis.forward import merge_views
from medkit.apis.predictor import Predictor
from medkit.apis.testing import test as run_test
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError, WeightsError
from medkit.evaluation.thresholds import StoredThreshold, write_threshold

from ..prepared import LIVER
from .detectors import moved


@pytest.fixture(scope="module", params=["centernet", "yolox"])
def run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def predictor(centernet):
    return Predictor(centernet, score_thr=0.0, device="cpu")


def rows(boxes, scores):
    return np.column_stack([boxes, scores]).reshape(-1, 5)


def assert_same(a, b, atol):
    """Each row of ``a`` has one in ``b`` that equals it; equal scores may stand in any order."""
    assert len(a) == len(b) > 0
    distance = np.abs(a[:, None] - b[None]).max(-1)
    assert max(distance.min(0).max(), distance.min(1).max()) <= atol


def test_numbers_of_the_test_tool(run, prepared, tmp_path):
    cfg = load_config(next(run.glob("*.py")))
    run_test(cfg, run, score_thr=0.5, out_dir=tmp_path, num_tiles=0)
    images = json.loads((prepared / "annotations/test.json").read_text())["images"]
    expected = {image["id"]: [] for image in images}
    for entry in json.loads((tmp_path / "predictions.json").read_text()):
        x, y, w, h = entry["bbox"]
        expected[entry["image_id"]].append([x, y, x + w, y + h, entry["score"]])
    predictor = Predictor(run, score_thr=0.0, device="cpu", batch_size=2)
    found = list(predictor([prepared / "images" / image["file_name"] for image in images]))
    assert sum(len(one) for one in found) >= 20
    for image, one in zip(images, found, strict=True):
        truth = np.array(expected[image["id"]]).reshape(-1, 5)
        assert_same(rows(one.bboxes, one.scores), truth, atol=1e-4)
        assert one.classes == LIVER and one.error is None and one.size == (80, 96)
        assert one.bboxes.dtype == one.scores.dtype == np.float32 and one.path.endswith(image["file_name"])


def test_stored_threshold_is_applied(predictor, centernet, prepared, tmp_path):
    everything = next(predictor(prepared / "images/test_0.png"))
    folder = moved(centernet, tmp_path / "copy")
    median = float(np.median(everything.scores))
    stored = StoredThreshold(median, "val.json", 0.5, 10, class_thr=dict.fromkeys(LIVER, 1.0))
    write_threshold(folder / "epoch_1.pth", stored)
    found = next(Predictor(folder, device="cpu")(prepared / "images/test_0.png"))
    assert 0 < len(found) < len(everything) and found.scores.min() >= median
    np.testing.assert_array_equal(found.bboxes, everything.bboxes[: len(found)])
    assert len(found.names) == len(found) and set(found.names) <= set(LIVER)
    assert Predictor(folder, device="cpu", score_thr="per-class").thresholds.tolist() == [1.0] * 4


def test_threshold_per_class(predictor, centernet, prepared):
    thresholds = dict.fromkeys(LIVER, 1.0) | {"cyst": 0.0}
    only = next(Predictor(centernet, device="cpu", score_thr=thresholds)(prepared / "images/test_0.png"))
    all_of_them = next(predictor(prepared / "images/test_0.png"))
    assert set(only.labels) == {0} and len(only) == (all_of_them.labels == 0).sum() < len(all_of_them)
    with pytest.raises(ConfigError, match="expected one for each of"):
        Predictor(centernet, device="cpu", score_thr={"cyst": 0.3})


def test_array_equals_file(predictor, prepared, tmp_path):
    rng = np.random.default_rng(0)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8), (9, 9), 0)
    deep = (cv2.GaussianBlur(rng.normal(size=(70, 90)), (9, 9), 0) * 400 + 2000).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "rgb.png"), rgb[..., ::-1])
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    found = list(predictor([rgb, tmp_path / "rgb.png", deep, str(tmp_path / "deep.png")]))
    for array, file in (found[:2], found[2:]):
        np.testing.assert_array_equal(array.bboxes, file.bboxes)
        assert array.path is None and len(array) > 0
    assert not np.array_equal(found[0].scores, next(predictor(rgb[..., ::-1].copy())).scores)  # colours count


def test_deep_images_are_shown_as_in_training(tmp_path):
    from medkit.apis.predict_io import Window, to_uint8
    from medkit.data.transforms.loading import read_image

    deep = np.random.default_rng(0).integers(0, 4096, (40, 50), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    for window in (None, (500.0, 3000.0)):
        np.testing.assert_array_equal(to_uint8(deep, Window(window)), read_image(tmp_path / "deep.png", window))


def test_what_cannot_be_read_leaves_the_rest(predictor, prepared, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    good = prepared / "images/test_0.png"
    bad_array = np.zeros((4, 5, 2), np.uint8)
    images = [tmp_path / "broken.png", good, tmp_path / "empty.png", tmp_path / "absent.png", bad_array, good]
    found = list(predictor(images))
    assert [one.error is None for one in found] == [False, True, False, False, False, True]
    assert "decoded" in found[0].error and "(4, 5, 2)" in found[4].error and len(found[0]) == 0
    np.testing.assert_array_equal(found[1].bboxes, found[5].bboxes)


def test_memory_is_one_batch(predictor):
    read = []

    def images():
        for number in range(30):
            read.append(number)
            yield np.zeros((40, 40), np.uint8)

    next(iter(predictor(images())))
    assert len(read) == predictor.batch_size


def test_half_precision_is_near(centernet, prepared):
    full = Predictor(centernet, score_thr=0.0, device="cpu")
    half = Predictor(centernet, score_thr=0.0, device="cpu", half=True)
    a, b = (next(each(prepared / "images/test_1.png")) for each in (full, half))
    assert b.bboxes.dtype == b.scores.dtype == np.float32
    assert not np.array_equal(a.scores[:3], b.scores[:3])
    np.testing.assert_allclose(a.scores[:3], b.scores[:3], rtol=0.1)


def test_mirrored_image_has_mirrored_boxes(run):
    """With both views the result of a mirrored image is the mirrored result; with one it is not."""
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (64, 64), dtype=np.uint8), (7, 7), 0)
    both = Predictor(run, score_thr=0.0, device="cpu", flip_tta=True)
    alone = Predictor(run, score_thr=0.0, device="cpu")

    def pair(predictor):
        straight, mirrored = predictor([image, np.ascontiguousarray(image[:, ::-1])])
        back = mirrored.bboxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [64, 0, 64, 0]
        return rows(straight.bboxes, straight.scores), rows(back, mirrored.scores)

    assert_same(*pair(both), atol=1e-2)
    with pytest.raises(AssertionError):
        assert_same(*pair(alone), atol=1e-2)


def test_symmetric_image_has_symmetric_boxes(centernet):
    image = np.full((64, 64), 40, np.uint8)
    cv2.circle(image, (20, 30), 8, 200, -1)
    image = np.maximum(image, image[:, ::-1])
    found = next(Predictor(centernet, score_thr=0.0, device="cpu", flip_tta=True)(image))
    mirrored = found.bboxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [64, 0, 64, 0]
    for box, label in zip(mirrored[:6], found.labels[:6], strict=True):
        assert np.abs(found.bboxes[found.labels == label] - box).max(1).min() < 1e-2


def test_merge_views():
    one, other = np.array([[0, 0, 10, 10]], np.float32), np.array([[1, 0, 11, 10]], np.float32)
    zero = np.zeros(1, np.int64)
    bboxes, scores, labels = merge_views((one, np.array([0.6]), zero), (other, np.array([0.2]), zero))
    np.testing.assert_allclose(bboxes, [[0.25, 0, 10.25, 10]])
    np.testing.assert_allclose(scores, [0.4])
    assert labels.tolist() == [0]
    bboxes, scores, labels = merge_views((one, np.array([0.6]), zero), (other, np.array([0.2]), zero + 1))
    np.testing.assert_allclose(scores, [0.3, 0.1])  # of one view each: another class
    assert labels.tolist() == [0, 1]
    nothing = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert len(merge_views(nothing, nothing)[1]) == 0


def test_refusals(centernet, tmp_path):
    folder = moved(centernet, tmp_path / "copy")
    assert Predictor(folder, device="cpu").thresholds.tolist() == pytest.approx([0.5] * 4)
    (folder / "thresholds.json").unlink()
    with pytest.raises(ConfigError, match=r"tools/test\.py .* --score-thr"):
        Predictor(folder, device="cpu")
    with pytest.raises(ConfigError, match="sees no GPU" if not torch.cuda.is_available() else "is none"):
        Predictor(folder, score_thr=0.3, device="cuda" if not torch.cuda.is_available() else "gpu")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Predictor(folder, score_thr=0.3, device="cpu", batch_size=0)
    (folder / "other.py").write_text("")
    with pytest.raises(ConfigError, match=r"found: .*other\.py"):
        Predictor(folder, score_thr=0.3)
    config = next(path for path in folder.glob("*.py") if path.name != "other.py")
    Predictor(folder, config=config, score_thr=0.3, device="cpu")
    checkpoint = resolve_checkpoint(folder)
    torch.save({"state_dict": {"weight": torch.ones(1)}}, checkpoint)
    with pytest.raises(WeightsError, match="does not fit"):
        Predictor(folder, config=config, score_thr=0.3, device="cpu")
