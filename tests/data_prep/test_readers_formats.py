import json

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.boxes import check_boxes
from data_prep.errors import ExportError
from data_prep.options import Options
from data_prep.readers import find_reader, read_export
from data_prep.readers.shapes import segmentation_box

from .conftest import sector
from .test_prep_readers import codes


def put(folder, *names, size=(100, 80)):
    """Write small images (width, height)."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", sector(number, *size))[1].tobytes())


def by_file(folder, **options):
    return {record.file: record for record in read_export(folder, Options(**options)).records}


def boxes_of(record):
    return [(lesion.box, lesion.label) for lesion in record.lesions]


def coco(images, annotations=(), names=("cyst", "HCC")):
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return json.dumps({"images": list(images), "annotations": list(annotations), "categories": categories})


# -- COCO


def test_coco_boxes_outlines_crowds_and_facts(tmp_path):
    put(tmp_path / "images", "a (1).png", "b.png", "c.png", "left.png")
    image = {"width": 100, "height": 80}
    facts = {"patientid": 7, "offset": "30", "age": "0", "view": 1.5}
    images = [
        {"id": 1, "file_name": "a (1).png", **image, "metadata": facts},
        {"id": 2, "file_name": "images/b.png", **image, "Patient": "P8", "sex": "male", "report": "x" * 300},
        {"id": 3, "file_name": "/elsewhere/C.PNG", **image},
        {"id": 4, "file_name": "gone.png"},
    ]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30.5, 40]},
        {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [[1, 2, 9, 3, 4, 8], [0, 5, 2, 6, 3, 7]]},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 1},
        {"id": 4, "image_id": 2, "category_id": 9, "bbox": [0, 0, 50, 50]},
        {"id": 5, "image_id": 2, "category_id": 1, "bbox": [0, 0, None, 50]},
        {"id": 6, "image_id": 99, "category_id": 1, "bbox": [0, 0, 5, 5]},
    ]
    (tmp_path / "all.json").write_text(coco(images, annotations))
    source = read_export(tmp_path)
    found = {record.file: record for record in source.records}
    first = found["a (1).png"]
    assert source.reader == "coco" and source.classes == ("cyst", "HCC") and source.has_patient_ids
    assert boxes_of(first) == [((10, 20, 40.5, 60), "cyst"), ((0, 2, 9, 8), "HCC")]
    assert (first.patient_id, first.age, first.extra) == ("7", None, {"day": 30, "view": 1.5})
    assert codes(first) == ["age_implausible", "box_from_outline", "age_against_diagnosis"]
    assert (found["b.png"].patient_id, found["b.png"].sex, found["b.png"].diagnosis) == ("P8", "M", "cyst")
    assert set(codes(found["b.png"])) == {
        *("long_text_left_out", "sex_rewritten", "box_crowd", "box_unknown_class", "box_unreadable")
    }
    assert set(codes(found["c.png"])) == {"name_elsewhere", "empty_annotation"} and found["c.png"].diagnosis == "normal"
    assert found["gone.png"].reason == "no_file" and found["left.png"].reason == "no_row"
    assert any("1 annotations of images that it does not list (ids 99)" in remark for remark in source.remarks)


def test_several_coco_files_duplicate_ids_and_a_wrong_size(tmp_path):
    put(tmp_path / "images", "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "annotations").mkdir()
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}
    (tmp_path / "annotations" / "train.json").write_text(
        coco([{"id": 1, "file_name": "a.png"}, {"id": 5, "file_name": "c.png"}, {"id": 5, "file_name": "d.png"}], [box])
    )
    images = [{"id": 1, "file_name": "b.png", "width": 50, "height": 40}, {"id": 2, "file_name": "a.png"}]
    (tmp_path / "annotations" / "val.json").write_text(coco(images, [box], ("HCC",)))
    (tmp_path / "annotations" / "notes.json").write_text("[]")
    found = by_file(tmp_path)
    assert boxes_of(found["a.png"])[0][1] == "cyst" and boxes_of(found["b.png"])[0][1] == "HCC"
    assert codes(found["a.png"]) == ["duplicate_row"]
    assert found["c.png"].reason == found["d.png"].reason == "duplicate_id"
    found["b.png"].width, found["b.png"].height = 100, 80
    check_boxes(found["b.png"], ("HCC",))
    assert found["b.png"].reason == "mask_size"


def test_run_lengths_have_the_box_of_their_mask():
    masks = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = (rng.random((rng.integers(1, 9), rng.integers(1, 9))) > rng.random()).astype(np.uint8, order="F")
        packed = masks.encode(mask)
        x, y, width, height = masks.toBbox(packed)
        loose = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=2)), append=mask.size).tolist()
        loose = ([0] if mask[0, 0] else []) + loose
        expected = (x, y, x + width, y + height) if mask.any() else None
        for counts in (packed["counts"].decode(), loose):
            assert segmentation_box({"size": list(mask.shape), "counts": counts}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [], "annotations": [', "all.json cannot be read as json"),
        ('{"images": {}, "annotations": []}', "all.json: no list 'images'"),
        ('{"images": [3], "annotations": [], "categories": []}', r"all.json: images\[0\] is 3"),
        ('{"images": [], "annotations": [], "categories": []}', "holds no image"),
    ],
)
def test_json_files_that_are_no_coco(tmp_path, text, message):
    (tmp_path / "all.json").write_text(text)
    with pytest.raises(ExportError, match=message):
        read_export(tmp_path)


@pytest.mark.realdata
def test_covid_patients_days_and_boxes(shared_data):
    source = read_export(shared_data / "cxr_covid_lungboxes")
    assert (source.reader, len(source.records)) == ("coco", 124)
    assert sum(len(record.lesions) for record in source.records) == 248
    assert len({record.patient_id for record in source.records}) == 81
    record = next(record for record in source.records if record.file == "000001-2.jpg")
    assert (record.patient_id, record.age, record.sex) == ("273", 34, "M")
    assert (record.extra["day"], record.extra["view"], record.extra["finding"]) == (30, "PA", "Pneumocystis")
    assert not record.diagnosis.startswith("normal") and source.classes == ("Right Lung", "Left Lung")


# -- Pascal VOC


def voc(name, *objects, size=(100, 80)):
    items = "".join(
        f"<object><name>{label}</name><difficult>{int(label == 'HCC')}</difficult><bndbox><xmin>{box[0]}</xmin>"
        f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for label, box in objects
    )
    return (
        f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{items}</annotation>"
    )


def test_voc_boxes_counted_from_1(tmp_path):
    put(tmp_path / "JPEGImages", "a.png", "b.png", "c.png", "d.png")
    folder = tmp_path / "Annotations"
    folder.mkdir()
    objects = ("cyst", (1, 2, 30, 40)), ("HCC", (5, 6, "x", 8)), ("HCC", (9, 9, 50, 50))
    (folder / "a.xml").write_text(voc("a.png", *objects))
    (folder / "renamed.xml").write_text(voc("B.png"))
    (folder / "lost.xml").write_text(voc("lost.png"))
    (folder / "c.xml").write_text("<annotation><object>")
    source = read_export(tmp_path)
    found = {record.file: record for record in source.records}
    assert boxes_of(found["a.png"]) == [((0, 1, 30, 40), "cyst"), ((8, 8, 50, 50), "HCC")]
    assert codes(found["a.png"]) == ["box_unreadable", "box_difficult"] and found["a.png"].diagnosis == "unknown"
    assert found["a.png"].mask_size == (100, 80) and found["b.png"].diagnosis == "normal"
    assert (found["lost.png"].reason, found["c.png"].reason, found["d.png"].reason) == (
        *("no_file", "unreadable_annotation", "no_row"),
    )
    assert any("counted from 1" in remark for remark in source.remarks)
    (folder / "d.xml").write_text(voc("d.png", ("cyst", (0, 2, 30, 40))))
    assert boxes_of(by_file(tmp_path)["a.png"])[0] == ((1, 2, 30, 40), "cyst")


def test_xml_entities_are_not_expanded(tmp_path):
    put(tmp_path, "a.png", "b.png")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "a.xml").write_text(f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{secret}">]>' + voc("&e;"))
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    (tmp_path / "b.xml").write_text(f'<!DOCTYPE a [<!ENTITY e0 "boom">{bomb}]>' + voc("&e9;"))
    for record in by_file(tmp_path).values():
        assert record.reason == "unreadable_annotation" and "Entit" in record.detail


# -- YOLO


def test_yolo_boxes_outlines_and_class_names(tmp_path):
    put(tmp_path / "images" / "train", "a.png", "b.png", "c.png")
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names:\n  0: cyst\n  1: HCC\n")
    (labels / "a.txt").write_text(
        "0 0.5 0.5 0.2 0.5\n1 0.1 0.1 0.5 0.2 0.3 0.9\n\n1 50 50 20 20\n7 0.5 0.5 0.1 0.1 0.93\n0 x\n"
    )
    (labels / "b.txt").write_text("")
    (labels / "lost.txt").write_text("0 0.5 0.5 0.2 0.5\n")
    source = read_export(tmp_path)
    found = {record.file: record for record in source.records}
    assert source.reader == "yolo" and source.classes == ("cyst", "HCC")
    boxes = boxes_of(found["train/a.png"])
    assert boxes[0] == ((40, 20, 60, 60), "cyst") and boxes[1][1] == "HCC" and boxes[2][1] == "class 7"
    np.testing.assert_allclose(boxes[1][0], (10, 8, 50, 72))
    assert codes(found["train/a.png"]) == ["box_unreadable"] * 2 and found["train/a.png"].boxes_in == 5
    assert codes(found["train/b.png"]) == ["empty_annotation"] and found["train/b.png"].diagnosis == "normal"
    assert codes(found["train/c.png"]) == ["no_label_file", "empty_annotation"]
    assert found["labels/train/lost.txt"].reason == "no_file"


def test_yolo_split_folders_and_labels_beside_the_images(tmp_path):
    put(tmp_path / "one", "train/images/a.png", "valid/images/b.png")
    for side, name in (("train", "a"), ("valid", "b")):
        (tmp_path / "one" / side / "labels").mkdir()
        (tmp_path / "one" / side / "labels" / f"{name}.txt").write_text("1 0.5 0.5 0.2 0.5")
    (tmp_path / "one" / "data.yaml").write_text("names: [cyst, HCC]\n")
    assert [len(record.lesions) for record in by_file(tmp_path / "one").values()] == [1, 1]
    put(tmp_path / "two", "a.png")
    (tmp_path / "two" / "a.txt").write_text("0 0.5 0.5 0.2 0.5")
    (tmp_path / "two" / "classes.txt").write_text("cyst\nHCC\n")
    assert boxes_of(by_file(tmp_path / "two")["a.png"]) == [((40, 20, 60, 60), "cyst")]


# -- which layout


def test_layouts_are_found_out_or_named(tmp_path, capsys):
    put(tmp_path / "images", "a.png")
    (tmp_path / "all.json").write_text(coco([{"id": 1, "file_name": "a.png"}]))
    assert find_reader(tmp_path) == "coco"
    (tmp_path / "masks").mkdir()
    assert find_reader(tmp_path) == "masks"
    (tmp_path / "masks").rmdir()
    (tmp_path / "data.yaml").write_text("names: [cyst]")
    with pytest.raises(ExportError, match=r"could be coco or yolo: .*--reader coco\|yolo"):
        find_reader(tmp_path)
    assert main(["check", str(tmp_path)]) == 2
    assert "could be coco or yolo" in capsys.readouterr().err
    assert main(["check", str(tmp_path), "--reader", "yolo"]) == 0
    shown = capsys.readouterr().out
    assert "layout      yolo" in shown and "table.no_label_file" in shown
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_bytes(b"x")
    for reader in ("coco", "voc", "yolo", "dicom"):
        if reader == "yolo":
            assert len(by_file(tmp_path / "other", reader=reader)) == 1
        else:
            with pytest.raises(ExportError, match="expected"):
                read_export(tmp_path / "other", Options(reader=reader))
    with pytest.raises(ExportError, match="no reader 'x'"):
        read_export(tmp_path, Options(reader="x"))
