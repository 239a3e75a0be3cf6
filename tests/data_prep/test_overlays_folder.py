"""The command overlays, the measurement, and lesions under a mark."""

import csv

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.images import decode, to_grey
from data_prep.measure_overlays import compare_overlays, lines_of
from data_prep.phantom import generate_export
from data_prep.writing import WriteJob, write_image

from .test_overlays_white import FONT, frame

YELLOW = (20, 235, 250)  # BGR


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "scans"
    (images / "day 1").mkdir(parents=True)
    clean = cv2.merge([frame(1)] * 3)
    text, flow = clean.copy(), clean.copy()
    cv2.putText(text, "LIVER LT", (150, 250), FONT, 0.5, YELLOW, 1, cv2.LINE_AA)
    cv2.ellipse(flow, (250, 200), (60, 40), 0, 0, 360, (20, 60, 250), -1)
    cv2.imwrite(str(images / "day 1" / "a (1).png"), clean)
    cv2.imwrite(str(images / "b.png"), text)
    cv2.imwrite(str(images / "b.jpg"), text, [cv2.IMWRITE_JPEG_QUALITY, 95])
    cv2.imwrite(str(images / "c.png"), flow)
    (images / "d.png").write_bytes(b"no image")
    return images


def test_a_folder_is_cleaned_with_a_row_per_image(folder, tmp_path, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert main(["overlays", str(folder), str(tmp_path / "out"), "--jobs", "1"]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    with (tmp_path / "out" / "overlays.csv").open(newline="") as handle:
        rows = {row["file"]: row for row in csv.DictReader(handle)}
    assert {file: row["result"] for file, row in rows.items()} == {
        "b.jpg": "cleaned",
        "b.png": "cleaned",
        "c.png": "doppler_frame",
        "d.png": "unreadable",
        "day 1/a (1).png": "nothing_found",
    }
    images = tmp_path / "out" / "images"
    for name in ("c.png", "day 1/a (1).png"):
        assert (images / name).read_bytes() == (folder / name).read_bytes()
    for name in ("b.png.png", "b.jpg.png"):
        pixels = decode(images / name).pixels
        mask = decode(tmp_path / "out" / "overlay_masks" / name).pixels
        source = name.removesuffix(".png")
        pixels = to_grey(pixels)
        assert np.count_nonzero(mask) == int(rows[source]["pixels"]) == int(rows[source]["colour"])
        assert np.abs(pixels.astype(int) - frame(1))[mask > 0].mean() < 25
    assert "c.png" in (said := capsys.readouterr().out) and "of 5 images" in said


def test_wrong_folders_are_refused_in_one_line(folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for images, out in ((folder, folder / "out"), (folder, folder), (empty, tmp_path / "o"), (tmp_path / "no", empty)):
        assert main(["overlays", str(images), str(out), "--jobs", "1"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "out").exists()


def test_lesion_pixels_under_a_mark_are_counted(folder, tmp_path):
    boxes = ((140.0, 235.0, 240.0, 260.0), (300.0, 60.0, 330.0, 90.0))
    job = WriteJob(str(folder / "b.png"), str(tmp_path / "b.png"), str(tmp_path / "m.png"), 0, False, (520, 420), boxes)
    written = write_image(job)
    assert written.in_boxes[0] == written.overlay_pixels > 100 and written.in_boxes[1] == 0
    assert dict(written.kinds) == {"colour": written.overlay_pixels}


def test_the_phantoms_marks_are_found_and_filled_nearer_to_the_twin_than_telea_does(tmp_path):
    generate_export(tmp_path / "p", num_images=40, seed=11, faults=2.5, twins=True)
    result = compare_overlays(tmp_path / "p")
    known, found, both, near = result.pixels["all"]
    assert known > 3000 and both >= 0.94 * known and both >= 0.85 * found and near >= 0.98 * found
    assert result.clean_frames >= 10 and result.clean_pixels == 0
    mae = {name: errors[0] / errors[2] for name, errors in result.errors.items()}
    assert mae["medkit"] < 0.9 * mae["telea"]
    assert any("precision" in line for line in lines_of(result))
