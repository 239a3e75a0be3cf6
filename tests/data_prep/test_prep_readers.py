import csv
import json

import cv2
import numpy as np
import pytest

from data_prep.errors import ExportError
from data_prep.options import Options
from data_prep.readers import read_export
from data_prep.readers.masks import blob_boxes, mask_box
from data_prep.readers.table import COLUMNS

from .conftest import sector


def codes(record) -> list[str]:
    return [note.code for note in record.notes]


def test_table_values_are_read_and_odd_ones_become_null(tiny):
    good = {"patient_id": " P1 ", "age": "61", "sex": "M", "diagnosis": "HCC"}
    tiny.add("a.png", sector(0), **good, boxes=" 1,2,30.5,40,HCC ; 5,6,70,80,cyst;")
    for number, (age, sex) in enumerate(
        [("0", "male"), ("999", "X"), ("-5", ""), ("x", "f"), ("", "F"), ("40.5", "1")]
    ):
        tiny.add(f"b{number}.png", sector(1 + number), age=age, sex=sex)
    export = read_export(tiny.save())
    first, *rest = export.records
    assert (first.patient_id, first.age, first.sex, first.diagnosis) == ("P1", 61, "M", "HCC")
    assert [(lesion.box, lesion.label) for lesion in first.lesions] == [
        ((1, 2, 30.5, 40), "HCC"),
        ((5, 6, 70, 80), "cyst"),
    ]
    assert [record.age for record in rest] == [None] * 6
    assert [record.sex for record in rest] == ["M", None, None, "F", "F", None]
    assert codes(rest[0]) == ["age_implausible", "sex_rewritten"]
    assert codes(rest[2]) == ["age_implausible", "sex_missing"]
    assert codes(rest[4]) == ["age_missing"]


def test_rows_without_file_files_without_row_and_bad_rows_are_reported(tiny):
    tiny.add("a.png", sector(0))
    tiny.add("a.png", boxes="")
    tiny.add("gone.png")
    tiny.add("left over.png", sector(1), row=False)
    tiny.add("notes.txt", data=b"hello", row=False)
    tiny.add("b.png", sector(2), boxes="1,2,3;4,5,x,7,cyst;10,10,50,50,cyst")
    tiny.rows.append({**tiny.rows[0], "file": "../../secret.png"})
    found = {record.file: record for record in read_export(tiny.save()).records}
    assert codes(found["a.png"]) == ["duplicate_row"] and len(found["a.png"].lesions) == 1
    assert found["gone.png"].reason == "no_file"
    assert found["left over.png"].reason == found["notes.txt"].reason == "no_row"
    assert found["../../secret.png"].reason == "bad_file_name"
    assert codes(found["b.png"]) == ["box_unreadable"] * 2 and found["b.png"].boxes_in == 3


def test_an_unquoted_boxes_column_is_a_malformed_row(tiny):
    tiny.add("a.png", sector(0))
    table = tiny.save() / "table.csv"
    table.write_text(",".join(COLUMNS) + "\na.png,p,5,F,cyst,1,2,3,4,cyst\na.png,p\n")
    records = read_export(tiny.folder).records
    assert records[0].reason == "malformed_row" and "quote" in records[0].detail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column file, patient_id"),
        ("file,boxes\n", "no column patient_id, age, sex, diagnosis; found file, boxes"),
        (",".join(COLUMNS) + "\n", "has a header and no rows"),
        (b"\xff\xfe\x00file", "cannot be read as csv in UTF-8"),
    ],
)
def test_tables_that_are_none(tiny, text, message):
    table = tiny.save() / "table.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ExportError, match=message):
        read_export(tiny.folder)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ExportError, match="no folder"):
        read_export(tmp_path / "absent")
    with pytest.raises(ExportError, match="no folder images/"):
        read_export(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ExportError, match=r"neither table.csv nor masks/"):
        read_export(tmp_path)
    with pytest.raises(ExportError, match="no table"):
        read_export(tmp_path, Options(reader="table"))
    (tmp_path / "masks").mkdir()
    with pytest.raises(ExportError, match="no image and no table row"):
        read_export(tmp_path)


def test_mask_boxes():
    mask = np.zeros((40, 60), np.uint8)
    assert mask_box(mask) is None
    mask[5:9, 10:30] = 1
    mask[20:30, 50:60] = 255
    mask[35, 2] = 1
    assert mask_box(mask) == (2, 5, 60, 36)
    assert sorted(blob_boxes(mask > 0)) == [(10, 5, 30, 9), (50, 20, 60, 30)]


def test_masks_by_class_folder(tmp_path):
    def write(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)

    mask = np.zeros((420, 460), np.uint8)
    for name, marks in (("benign/b (1)", 2), ("malignant/m (1)", 1), ("normal/n (1)", 0)):
        write(tmp_path / "images" / f"{name}.jpg", sector(0))
        for number in range(max(1, marks)):
            own = mask.copy()
            own[10 : 20 * marks, 10 * number : 40 * marks] = 255
            write(tmp_path / "masks" / f"{name}_mask{f'_{number}' if number else ''}.png", own)
    write(tmp_path / "images/benign/without.jpg", sector(1))
    export = read_export(tmp_path)
    assert export.classes == ("benign", "malignant") and not export.has_patient_ids
    found = {record.file: record for record in export.records}
    assert [lesion.box for lesion in found["benign/b (1).jpg"].lesions] == [(0, 10, 80, 40), (10, 10, 80, 40)]
    assert found["normal/n (1).jpg"].lesions == [] and found["normal/n (1).jpg"].kept
    assert found["benign/without.jpg"].reason == "no_mask"


def test_colour_coded_masks(tmp_path):
    mask = np.zeros((100, 120, 3), np.uint8)
    mask[10:30, 10:30] = (0, 255, 0)
    mask[50:70, 60:90] = (0, 255, 0)
    red = mask.copy()
    red[80:95, 5:25] = (0, 0, 255)  # OpenCV writes BGR
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, own in (("1", mask), ("2", red), ("3", mask * 0)):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), sector(0, 120, 100))
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), own)
    records = read_export(tmp_path).records
    assert [record.diagnosis for record in records] == ["benign", "malignant", "normal"]
    assert [len(record.lesions) for record in records] == [2, 3, 0]
    assert records[1].lesions[2].box == (5, 80, 25, 95)


@pytest.mark.realdata
def test_busi_masks_give_the_known_boxes(shared_data):
    folder = shared_data / "us_breast_busi"
    known = json.loads((folder / "derived_boxes_coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in known["images"]}
    labels = {category["id"]: category["name"] for category in known["categories"]}
    expected = sorted((names[a["image_id"]], labels[a["category_id"]], *a["bbox"]) for a in known["annotations"])
    found = sorted(
        (record.file, lesion.label, x1, y1, x2 - x1, y2 - y1)
        for record in read_export(folder).records
        for lesion in record.lesions
        for x1, y1, x2, y2 in [lesion.box]
    )
    assert len(found) == 665
    assert found == expected


@pytest.mark.realdata
def test_liver_sample_masks_are_read(shared_data):
    records = read_export(shared_data / "us_liver_aul_sample").records
    assert len(records) == 8 and all(record.lesions and record.diagnosis == "benign" for record in records)


def test_the_table_of_the_test_helper_has_the_columns(tiny):
    with (tiny.save() / "table.csv").open() as handle:
        assert tuple(next(csv.reader(handle))) == COLUMNS
