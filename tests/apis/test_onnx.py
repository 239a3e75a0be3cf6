"""ONNX: exported boxes equal PyTorch's, metadata, use without torch, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medkit.apis.onnx_export import OnnxMismatchError, check_images, compare, export_onnx
from medkit.apis.onnx_predictor import METADATA, OnnxPredictor
from medkit.apis.predicting import load_predictor
from medkit.apis.predictor import Predictor
from medkit.errors import ConfigError, WeightsError

from ..prepared import LIVER
from .detectors import moved

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exported(centernet, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "centernet.onnx"
    return path, export_onnx(centernet, path, dynamic_batch=True)


def test_boxes_equal(exported, centernet):
    path, found = exported
    assert found["boxes"] > 50 and found["images"] == 5 and found["score"] < 1e-4 and found["box"] < 1e-4
    images = check_images(seed=7)
    onnx, torch = OnnxPredictor(path, score_thr=0.0), Predictor(centernet, score_thr=0.0, device="cpu")
    for a, b in zip(onnx(images), torch(images), strict=True):
        assert len(a) == len(b) > 0 and a.classes == b.classes == LIVER and a.size == b.size
        assert a.bboxes.dtype == a.scores.dtype == np.float32
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)


def test_threshold_and_metadata(exported, centernet, prepared):
    path, _ = exported
    image = prepared / "images/test_0.png"
    a, b = next(OnnxPredictor(path)(image)), next(Predictor(centernet, device="cpu")(image))
    assert len(a) == len(b) > 0 and a.scores.min() >= 0.5
    about = OnnxPredictor(path).about
    assert about["input_size"] == [64, 64] and about["classes"] == list(LIVER) and about["interpolation"] == "area"
    assert about["mean"] == pytest.approx([123.675, 116.28, 103.53]) and about["score_thr"] == 0.5
    assert about["checkpoint"] == "epoch_1.pth" and len(about["checkpoint_sha256"]) == 64


def test_other_boxes_are_noticed(exported, centernet, tmp_path):
    import onnx

    file = onnx.load(exported[0])
    about = {prop.key: prop.value for prop in file.metadata_props}[METADATA]
    spoilt = json.loads(about) | {"interpolation": "nearest"}
    onnx.helper.set_model_props(file, {METADATA: json.dumps(spoilt)})
    onnx.save(file, tmp_path / "spoilt.onnx")
    other = OnnxPredictor(tmp_path / "spoilt.onnx", score_thr=0.0)
    with pytest.raises(OnnxMismatchError, match="the other"):
        compare(Predictor(centernet, score_thr=0.0, device="cpu"), other)


def test_runs_without_torch(exported, prepared, tmp_path):
    code = (
        "import sys, runpy; sys.argv = ['predict.py', *sys.argv[1:]]\n"
        "runpy.run_path('tools/predict.py', run_name='__main__')\n"
        "assert not {'torch', 'mmengine', 'mmcv', 'mmdet', 'matplotlib'} & set(sys.modules)"
    )
    args = [str(exported[0]), str(prepared / "images/test_0.png"), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 images" in done.stdout and (tmp_path / "out/overlays/test_0.png").is_file()


def test_refusals(exported, yolox, centernet, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="YOLOX is not exported, only CenterNet"):
        export_onnx(yolox, tmp_path / "yolox.onnx")
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        export_onnx(centernet, tmp_path / "centernet.pt")
    assert not list(tmp_path.iterdir())
    with pytest.raises(WeightsError, match="does not exist"):
        OnnxPredictor(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        OnnxPredictor(tmp_path / "broken.onnx")
    for option in ("half", "flip_tta"):
        with pytest.raises(ConfigError, match=f"{option} is an option of PyTorch weights"):
            load_predictor(exported[0], **{option: True})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"medkit\[onnx\]"):
        OnnxPredictor(exported[0])


def test_nms_is_not_exported(centernet, tmp_path):
    folder = moved(centernet, tmp_path / "copy")
    config = next(folder.glob("*.py"))
    config.write_text(config.read_text() + "\nmodel['test_cfg']['with_nms'] = True\n")
    with pytest.raises(ConfigError, match="with_nms"):
        export_onnx(folder, tmp_path / "nms.onnx")
