"""The command line of tools/predict.py: folders, broken files, video, DICOM, what it writes, exit status."""

import csv
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from medkit.apis.config import load_config
from medkit.registry import MODELS

from ..apis.detectors import saved
from ..prepared import LIVER, write_prepared

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    return saved("centernet", write_prepared(folder / "data", num_images=2), folder / "run")


def predict(monkeypatch, *args):
    """Run the tool in this process, which spares the imports; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, args), "--device", "cpu"])
    try:
        runpy.run_path(str(REPO / "tools" / "predict.py"), run_name="__main__")
    except SystemExit as stopped:
        return stopped.code
    return 0


def picture(seed=0, shape=(60, 80)):
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), (7, 7), 0)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_dicom(path, frames, kind="MONOCHROME2"):
    """An 8-bit DICOM file of (N, H, W) frames that names a patient."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3.4"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName, data.PatientID, data.PatientBirthDate = "Mustermann^Erika", "QX-4711", "19640812"
    data.Rows, data.Columns, data.NumberOfFrames = *frames.shape[1:3], len(frames)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, kind
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = frames.astype(np.uint8).tobytes()
    data.save_as(path, enforce_file_format=True)


def test_folder_of_everything(run_folder, tmp_path, monkeypatch, capsys):
    source, out = tmp_path / "images", tmp_path / "images" / "out"
    (source / "b").mkdir(parents=True)
    cv2.imwrite(str(source / "a.png"), picture())
    cv2.imwrite(str(source / "b" / "a.jpg"), picture(1))
    cv2.imwritemulti(str(source / "b" / "pages.tif"), [picture(2), picture(3)])
    (source / "broken.png").write_bytes(b"no picture")
    (source / "notes.txt").write_text("not an image")
    write_dicom(source / "b" / "scan.dcm", np.stack([picture(4), picture(5)]))
    write_dicom(source / "b" / "IM0001", picture(6)[None])
    (source / "b" / "cut.dcm").write_bytes((source / "b" / "scan.dcm").read_bytes()[:900])

    assert predict(monkeypatch, run_folder, source, "--out", out, "--batch-size", "3") == 0
    assert "7 images" in capsys.readouterr().out
    content = json.loads((out / "predictions.json").read_text())
    names = [(image["file_name"], image.get("frame")) for image in content["images"]]
    assert names == [("a.png", None), ("b/IM0001", None), ("b/a.jpg", None), ("b/pages.tif", 0), ("b/pages.tif", 1),
                     ("b/scan.dcm", 0), ("b/scan.dcm", 1)]  # fmt: skip
    assert [category["name"] for category in content["categories"]] == list(LIVER)
    assert {image["width"] for image in content["images"]} == {80}
    rows = table(out / "predictions.csv")
    assert len(rows) == len(content["annotations"]) > 0
    first, box = rows[0], content["annotations"][0]
    assert first["file"] == "a.png" and first["class"] == LIVER[box["category_id"] - 1]
    assert [float(first[k]) for k in ("x1", "y1")] == pytest.approx(box["bbox"][:2], abs=0.006)
    assert float(first["score"]) == pytest.approx(box["score"], abs=1e-6) and box["score"] >= 0.5
    assert [row["file"] for row in table(out / "errors.csv")] == ["broken.png", "b/cut.dcm"]
    drawn = sorted(path.relative_to(out / "overlays").as_posix() for path in (out / "overlays").rglob("*.png"))
    assert drawn == ["a.png", "b/IM0001.png", "b/a.jpg.png", "b/pages.tif.00000.png", "b/pages.tif.00001.png",
                     "b/scan.dcm.00000.png", "b/scan.dcm.00001.png"]  # fmt: skip
    for path in out.rglob("*"):
        held = path.read_bytes() if path.is_file() else b""
        assert not any(word in held for word in (b"Mustermann", b"QX-4711", b"19640812")), path


def test_json_stands_alone(run_folder, tmp_path, monkeypatch, capsys):
    from pycocotools.coco import COCO

    cv2.imwrite(str(tmp_path / "a.png"), picture())
    assert predict(monkeypatch, run_folder, tmp_path / "a.png", "--out", tmp_path / "out", "--no-overlays") == 0
    coco = COCO(str(tmp_path / "out/predictions.json"))
    assert coco.loadImgs(1)[0]["file_name"] == "a.png" and len(coco.loadAnns(coco.getAnnIds(1))) > 0
    assert not (tmp_path / "out/overlays").exists()
    assert json.loads((tmp_path / "out/predictions.json").read_text())["info"]["weights"] == "run"


def test_video(run_folder, tmp_path, monkeypatch, capsys):
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (80, 60))
    for seed in range(5):
        video.write(cv2.cvtColor(picture(seed), cv2.COLOR_GRAY2BGR))
    video.release()
    assert predict(monkeypatch, run_folder, tmp_path / "clip.avi", "--out", tmp_path / "out", "--batch-size", "2") == 0
    images = json.loads((tmp_path / "out/predictions.json").read_text())["images"]
    assert [image["frame"] for image in images] == [0, 1, 2, 3, 4]
    drawn = cv2.VideoCapture(str(tmp_path / "out/overlays/clip.avi.avi"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and drawn.read()[1].shape == (300, 400, 3)  # five times as large


def test_nothing_readable(run_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert predict(monkeypatch, run_folder, tmp_path / "broken.png", "--out", tmp_path / "out") == 2
    assert "none of 1 could be read" in capsys.readouterr().err
    assert len(table(tmp_path / "out/errors.csv")) == 1
    (tmp_path / "empty").mkdir()
    assert predict(monkeypatch, run_folder, tmp_path / "empty", "--out", tmp_path / "out2") == 2
    assert "expected images" in capsys.readouterr().err
    assert predict(monkeypatch, run_folder, tmp_path / "absent", "--out", tmp_path / "out3") == 2
    assert "does not exist" in capsys.readouterr().err


def test_dicom_is_shown_as_a_viewer_shows_it(tmp_path):
    from medkit.apis.predict_io import read_frames

    image = picture()
    for kind, expected in (("MONOCHROME2", image), ("MONOCHROME1", 255 - image)):
        write_dicom(tmp_path / "scan.dcm", image[None], kind)
        (frame,) = read_frames(tmp_path / "scan.dcm")
        np.testing.assert_array_equal(frame.image, expected)
        assert frame.number is None and frame.error is None


def test_coloured_and_deep_dicom(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from medkit.apis.predict_io import read_frames

    rgb = np.stack([picture(1), picture(2), picture(3)], axis=-1)
    write_dicom(tmp_path / "colour.dcm", picture()[None])
    data = pydicom.dcmread(tmp_path / "colour.dcm")
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.PixelData = rgb.tobytes()
    data.save_as(tmp_path / "colour.dcm")
    (frame,) = read_frames(tmp_path / "colour.dcm")
    np.testing.assert_array_equal(frame.image, rgb[..., ::-1])

    deep = (picture().astype(np.uint16) + 1000)[None]
    write_dicom(tmp_path / "deep.dcm", deep)
    data = pydicom.dcmread(tmp_path / "deep.dcm")
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.RescaleSlope, data.RescaleIntercept, data.WindowCenter, data.WindowWidth = 2, -2000, [128, 40], [256, 80]
    data.PixelData = deep.tobytes()
    data.save_as(tmp_path / "deep.dcm")
    (frame,) = read_frames(tmp_path / "deep.dcm")
    expected = np.clip(picture().astype(float) * 2 * 255 / 256 + 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(frame.image, expected)


def test_an_anomaly_detector_is_scored(tmp_path, monkeypatch, capsys):
    cfg = load_config(REPO / "configs" / "ganomaly_phantom.py", cfg_options={"width": 4, "img_size": 32})
    (tmp_path / "run").mkdir()
    cfg.dump(tmp_path / "run" / "config.py")
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, tmp_path / "run" / "iter_1.pth")
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    arguments = (tmp_path / "run" / "iter_1.pth", tmp_path / "a.png", "--out", tmp_path / "out")
    assert predict(monkeypatch, *arguments) == 0
    assert [row["file"] for row in table(tmp_path / "out" / "scores.csv")] == ["a.png"]
    assert "1 images" in capsys.readouterr().out
    assert predict(monkeypatch, *arguments, "--tta") == 2
    assert "options of lesion detectors" in capsys.readouterr().err
