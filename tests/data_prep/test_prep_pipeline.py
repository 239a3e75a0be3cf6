import argparse
import contextlib
import dataclasses
import hashlib
import io
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from data_prep import results
from data_prep.__main__ import main
from data_prep.commands import run
from data_prep.errors import DataPrepError, EmptyResultError, InterruptedRun, OptionError
from data_prep.options import Options
from data_prep.pipeline import prepare

from .conftest import sector

SIDES = ("train", "val", "test")


def digests(folder) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load(path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def dirty(tiny):
    """The good patients and one image for every kind of fault."""
    tiny.fill()
    png = cv2.imencode(".png", sector(1))[1].tobytes()
    jpg = cv2.imencode(".jpg", sector(1))[1].tobytes()
    tiny.add("empty.png", data=b"")
    tiny.add("cut.png", data=png[: len(png) // 2])
    tiny.add("cut.jpg", data=jpg[: len(jpg) // 2])
    tiny.add("text.png", data=b"this is no picture")
    tiny.add("small.png", sector(2, 400, 400))
    tiny.add("wide.png", sector(3, 401, 300))
    tiny.add("gone.png")
    tiny.add("no_row.png", sector(4), row=False)
    tiny.add("no_box.png", sector(5), boxes="", diagnosis="HCC")
    tiny.add("boxes.png", sector(6), boxes="-20,50,90,100,cyst;500,500,600,600,cyst;50,50,40,90,cyst;9,9,9,9,cyst")
    near = np.roll(sector(1000), 3, axis=1) * 0.9
    tiny.add("near.png", near.astype(np.uint8), patient_id="P0", boxes="100,110,180,170,cyst;300,250,340,290,HCC")
    tiny.add("conflict.png", sector(7))
    tiny.add("conflict_too.png", sector(7), diagnosis="HCC", boxes="100,100,160,150,HCC")
    scale = np.stack([sector(8)] * 3, axis=2)
    scale[30:300, 440:446] = (250, 230, 30)
    cv2.line(scale, (110, 120), (170, 130), (40, 110, 250), 1)
    tiny.add("scale.jpg", scale)
    flow = np.stack([sector(9)] * 3, axis=2)
    cv2.circle(flow, (230, 220), 40, (230, 50, 10), -1)
    tiny.add("flow.png", flow)
    tiny.add("black.png", np.zeros((420, 460), np.uint8), age="0", diagnosis="normal")
    return tiny.save()


EXPECTED = {
    "empty.png": ("dropped", "decode", "zero_bytes"),
    "cut.png": ("dropped", "decode", "truncated"),
    "cut.jpg": ("dropped", "decode", "truncated"),
    "text.png": ("dropped", "decode", "not_an_image"),
    "small.png": ("dropped", "size", "too_small"),
    "wide.png": ("kept", "", ""),
    "gone.png": ("dropped", "table", "no_file"),
    "no_row.png": ("dropped", "table", "no_row"),
    "no_box.png": ("dropped", "labels", "lesion_without_box"),
    "boxes.png": ("changed", "", ""),
    "near.png": ("kept", "", ""),  # it has more lesions than its partner, so it stays
    "good00_0.jpg": ("dropped", "duplicates", "near_duplicate"),
    "conflict.png": ("dropped", "duplicates", "label_conflict"),
    "conflict_too.png": ("dropped", "duplicates", "label_conflict"),
    "scale.jpg": ("changed", "", ""),
    "flow.png": ("changed", "", ""),
    "black.png": ("changed", "", ""),
}


def test_every_fault_is_reported_and_the_rest_becomes_a_valid_set(tiny, tmp_path, report_of):
    export, out = dirty(tiny), tmp_path / "out"
    before = digests(export)
    summary = prepare(export, out)
    assert digests(export) == before, "originals were touched"
    rows = report_of(out)
    assert set(rows) == {*EXPECTED, *(row["file"] for row in tiny.rows)}
    for file, expected in EXPECTED.items():
        assert (rows[file]["status"], rows[file]["stage"], rows[file]["reason"]) == expected, file
    assert rows["good00_0.jpg"]["partner"] == "near.png" and int(rows["good00_0.jpg"]["hash_distance"]) <= 12
    notes = rows["boxes.png"]["notes"]
    assert all(code in notes for code in ("box_clipped", "box_outside", "box_inverted", "box_empty"))
    assert "scale_on_lesion" in rows["scale.jpg"]["notes"] and rows["scale.jpg"]["out_file"] == "scale.png"
    assert "doppler_frame" in rows["flow.png"]["notes"] and "flat_frame" in rows["black.png"]["notes"]
    check_set(out, rows, summary, export)


def check_set(out, rows, summary, export):
    """Annotations load, boxes lie inside, no patient leaks, files and counts agree."""
    kept = {row["out_file"]: row for row in rows.values() if row["status"] != "dropped"}
    seen, patients, ids = {}, {}, []
    for side in SIDES:
        coco = load(out / "annotations" / f"{side}.json")
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == [
            "cyst",
            "HCC",
            "hemangioma",
            "metastasis",
        ]
        for image in coco.loadImgs(coco.getImgIds()):
            file = image["file_name"]
            seen[file] = side
            assert kept[file]["split"] == side
            assert patients.setdefault(image["patient_id"], side) == side
            pixels = cv2.imread(str(out / "images" / file), cv2.IMREAD_UNCHANGED)
            assert pixels.shape[:2] == (image["height"], image["width"]) and pixels.dtype == np.uint8
            for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
                x, y, w, h = annotation["bbox"]
                assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= image["width"] and y + h <= image["height"]
                ids.append(annotation["id"])
        assert summary["split"][side]["images"] == len(coco.getImgIds()) > 0
    assert set(seen) == set(kept) and len(ids) == len(set(ids))
    for file, row in kept.items():
        if row["status"] == "kept":
            assert (out / "images" / file).read_bytes() == (export / "images" / row["file"]).read_bytes()
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert "leaky" not in (out / "annotations/train.json").read_text().replace('"leaky_random": false', "")


def test_boxes_only_on_a_dropped_frame_are_named(tiny, tmp_path, report_of):
    tiny.fill()
    boxes = "300,250,340,290,cyst"
    tiny.add("zz.png", (sector(1000) * 0.95).astype(np.uint8), patient_id="P0", boxes=boxes)
    prepare(tiny.save(), tmp_path / "out")
    row = report_of(tmp_path / "out")["zz.png"]
    assert row["reason"] == "near_duplicate" and row["partner"] == "good00_0.jpg"
    assert "boxes_only_here(cyst [300 250 340 290])" in row["notes"]


def test_the_output_does_not_depend_on_the_number_of_workers(tiny, tmp_path):
    export = dirty(tiny)
    prepare(export, tmp_path / "one", Options(jobs=1, indent=1))
    prepare(export, tmp_path / "two", Options(jobs=2, indent=1))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_images_without_patient_ids_get_their_group_as_patient(tiny, tmp_path, report_of):
    tiny.fill()
    for row in tiny.rows:
        row["patient_id"] = ""
    summary = prepare(tiny.save(), tmp_path / "out")
    assert any("no patient ids" in remark for remark in summary["remarks"])
    assert "no patient ids" in (tmp_path / "out/summary.txt").read_text()
    assert report_of(tmp_path / "out")["good03_1.png"]["patient_id"] == "no-id:good03_1.png"


def test_shrinking_scales_boxes_and_keep_scales_keeps_bytes(tiny, tmp_path, report_of):
    export = dirty(tiny)
    prepare(export, tmp_path / "small", Options(max_side=230))
    for side in SIDES:
        coco = load(tmp_path / "small/annotations" / f"{side}.json")
        assert all(max(image["width"], image["height"]) <= 230 for image in coco.dataset["images"])
        for image in coco.loadImgs(coco.getImgIds()):
            if image["file_name"] == "good01_0.png":
                assert coco.loadAnns(coco.getAnnIds(image["id"]))[0]["bbox"] == [50.25, 55, 39.75, 30.125]
    prepare(export, tmp_path / "kept", Options(keep_overlays=True))
    assert (tmp_path / "kept/images/scale.jpg").read_bytes() == (export / "images/scale.jpg").read_bytes()


def test_the_leaky_split_says_so(tiny, tmp_path):
    prepare(tiny.fill(12, 4).save(), tmp_path / "out", Options(leaky_random=True))
    for side in SIDES:
        assert "leaky" in json.loads((tmp_path / "out/annotations" / f"{side}.json").read_text())["info"]["description"]
    assert "leaky:" in (tmp_path / "out/summary.txt").read_text()


def test_the_command_prints_the_summary(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    export = str(tiny.fill().save())
    assert main([export, str(out), "--jobs", "1", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (out / "summary.txt").read_text() and printed.err == ""
    assert main([export, str(out), "--jobs", "1", "--overwrite"]) == 0
    more = capsys.readouterr()
    assert more.out.startswith(printed.out) and more.err == ""
    assert "look: 24 images in " in more.out and more.out.endswith(" MiB here\n")
    assert "split: by patient and duplicate group 0.8/0.1/0.1, seed 0" in printed.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "0.9,0.1"], "--split 0.9,0.1: expected three positive fractions"),
        (["--split", "a,b,c"], "--split a,b,c: expected three numbers"),
        (["--classes", "cyst,,HCC"], "--classes cyst,,HCC: expected different names"),
        (["--jobs", "0"], "--jobs 0: expected at least 1"),
        (["--indent", "-1"], "--indent -1: expected between 0 and 16"),
        (["--columns", "no.yaml"], "--columns no.yaml: no such file"),
        (["--split-from", "no"], "--split-from no: no such folder"),
        (["--dedup-distance", "65"], "--dedup-distance 65: expected between 0 and 64"),
        (["--min-size", "5000"], "no image is left of 24: too_small 24"),
        (["--classes", "polyp"], "no image is left of 24: lesion_without_box"),
        (["--split", "0.98,0.01,0.01"], None),
        (["--reader", "masks"], "no image is left of 24: no_mask 24"),
    ],
)
def test_wrong_input_gives_one_line_and_exit_code_2(tiny, tmp_path, capsys, options, message):
    tiny.fill()
    if options[0] == "--classes":
        tiny.rows = [{**row, "diagnosis": row["diagnosis"].replace("normal", "cyst")} for row in tiny.rows]
    if message is None:  # everybody is one patient, so two sides stay empty
        tiny.rows = [{**row, "patient_id": "P"} for row in tiny.rows]
        message = "split: no image is left for"
    out = tmp_path / "new" / "out"
    assert main([str(tiny.save()), str(out), "--jobs", "1", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"data_prep: {message}") and error.count("\n") == 1
    assert not out.exists() and not list(tmp_path.glob("new/.*"))


def test_the_output_folder_is_guarded(tiny, tmp_path):
    export, out = tiny.fill().save(), tmp_path / "out"
    for bad in (export, export / "images" / "new", tmp_path):
        with pytest.raises(OptionError, match="lie in each other"):
            prepare(export, bad, Options(overwrite=True))
    out.mkdir()
    prepare(export, out)  # an empty folder is welcome
    with pytest.raises(OptionError, match=r"not empty.*--overwrite"):
        prepare(export, out)
    (out / "stale").touch()
    prepare(export, out, Options(overwrite=True))
    assert not (out / "stale").exists()
    (out / "summary.json").unlink()
    with pytest.raises(OptionError, match="no earlier output"):
        prepare(export, out, Options(overwrite=True))


def test_a_run_that_fails_half_way_leaves_the_old_output(tiny, tmp_path, monkeypatch):
    export, out = tiny.fill().save(), tmp_path / "out"
    prepare(export, out)
    before = digests(out)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_json", full_disk)
    with pytest.raises(InterruptedRun, match="No space left"):
        prepare(export, out, Options(overwrite=True))
    assert digests(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.work", "export", "out"]
    monkeypatch.undo()
    prepare(export, out, Options(overwrite=True))
    assert digests(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "out"]


def test_every_option_of_a_run_is_on_the_command_line():
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    assert set(vars(parser.parse_args(["a", "b"]))) == {
        "export",
        "out",
        *(field.name for field in dataclasses.fields(Options)),
    }


def test_nothing_left_is_an_error_of_its_own_kind(tiny, tmp_path):
    tiny.add("a.png", sector(0, 300, 300))
    with pytest.raises(EmptyResultError, match="too_small 1"):
        prepare(tiny.save(), tmp_path / "out")
    assert issubclass(EmptyResultError, DataPrepError)


def test_names_that_would_meet_stay_apart(tiny, tmp_path, report_of):
    tiny.fill()
    scale = np.stack([sector(8)] * 3, axis=2)
    scale[30:300, 440:446] = (250, 230, 30)
    tiny.add("same.jpg", scale)
    tiny.add("same.png", sector(30))
    tiny.add("ünï (1) x.jpg", sector(31))
    prepare(tiny.save(), tmp_path / "out")
    rows = report_of(tmp_path / "out")
    assert rows["same.png"]["out_file"] == "same.png" and rows["same.jpg"]["out_file"] == "same.png.png"
    assert (tmp_path / "out/images/ünï (1) x.jpg").is_file()


def test_sixteen_bit_and_turned_images_become_eight_bit_png(tiny, tmp_path, report_of):
    from PIL import Image

    tiny.fill()
    tiny.add("deep.png", sector(40).astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[274] = 6
    data = io.BytesIO()
    Image.fromarray(sector(41)).save(data, "JPEG", exif=exif)
    tiny.add("turned.jpg", data=data.getvalue())
    prepare(tiny.save(), tmp_path / "out")
    rows = report_of(tmp_path / "out")
    deep = cv2.imread(str(tmp_path / "out/images/deep.png"), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint8 and np.corrcoef(deep.ravel(), sector(40).ravel())[0, 1] > 0.999
    assert rows["turned.jpg"]["out_file"] == "turned.png" and "orientation" in rows["turned.jpg"]["notes"]
    assert cv2.imread(str(tmp_path / "out/images/turned.png")).shape[:2] == (420, 460)
