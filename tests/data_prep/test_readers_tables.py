import os
import re
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from PIL import Image

from data_prep.errors import ExportError, UnreadableImage
from data_prep.images import decode
from data_prep.options import Options
from data_prep.readers import read_export

from .conftest import sector
from .test_prep_readers import codes
from .test_readers_formats import boxes_of, by_file, put


def test_a_map_for_one_row_per_box(tmp_path):
    put(tmp_path / "pictures", "a b.png", "[c].png", "d.png")
    (tmp_path / "findings.csv").write_text(
        "Image;MRN;Age (y);Gender;Finding;cx;cy;w;h;Day\n"
        "a b;17;44;1;hcc;0.5;0.5;0.2;0.5;3\na b;18;44;1;hcc;0.25;0.5;0.1;0.5;3\n[c];18;7;2;hcc;;;;;4\n"
    )
    (tmp_path / "map.yaml").write_text(
        "images: pictures\nsuffix: .png\nextra: [Day]\nboxes: {normalised: yes}\n"
        "columns: {file: Image, patient_id: MRN, age: Age (y), sex: Gender, diagnosis: Finding,\n"
        "  cx: cx, cy: cy, width: w, height: h}\nvalues: {sex: {1: M, 2: F}, diagnosis: {hcc: HCC}}\n"
    )
    source = read_export(tmp_path, Options(columns=tmp_path / "map.yaml"))
    found = {record.file: record for record in source.records}
    first = found["a b.png"]
    np.testing.assert_allclose([lesion.box for lesion in first.lesions], [(40, 20, 60, 60), (20, 20, 30, 60)])
    assert {lesion.label for lesion in first.lesions} == {"HCC"}
    assert (first.patient_id, first.age, first.sex, first.extra) == ("17", 44, "M", {"Day": "3"})
    assert codes(first) == ["rows_differ"] and source.classes == ("HCC",)
    assert codes(found["[c].png"]) == ["age_against_diagnosis"] and found["[c].png"].age == 7
    assert found["d.png"].reason == "no_row"


def test_a_map_for_a_sheet_with_all_boxes_in_a_cell(tmp_path):
    put(tmp_path / "images", "1.png", "2.png", "3.png")
    book = openpyxl.Workbook()
    book.create_sheet("Boxes")
    for row in (["No", "ROIs", "Years"], [1, "10 20 30 40|1 1 5 5 HCC", 61.0], [2, None, None], [3, "1 2 3", 61.5]):
        book["Boxes"].append(row)
    book.save(tmp_path / "list.xlsx")
    (tmp_path / "map.yaml").write_text(
        "table: list.xlsx\nsheet: Boxes\nsuffix: .png\ncolumns: {file: No, boxes: ROIs, age: Years}\n"
        "boxes: {format: xywh, separator: '|', value_separator: blank}\nconstants: {sex: F, label: cyst}\n"
    )
    found = by_file(tmp_path, columns=tmp_path / "map.yaml")
    assert boxes_of(found["1.png"]) == [((10, 20, 40, 60), "cyst"), ((1, 1, 6, 6), "HCC")]
    assert (found["1.png"].age, found["1.png"].sex, found["1.png"].diagnosis) == (61, "F", "unknown")
    assert found["2.png"].diagnosis == "normal" and "age_missing" in codes(found["2.png"])
    assert set(codes(found["3.png"])) == {"box_unreadable", "age_implausible"}
    assert found["3.png"].diagnosis == "unknown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colums: {}", "unknown key 'colums'"),
        ("columns: [file]", "under columns: .* expected a mapping"),
        ("columns: {file: A, name: B}", "under columns: unknown key 'name'"),
        ("columns: {file: A, x1: a, y1: b}", "under boxes: columns x1, y1: expected `boxes` alone, or exactly one of"),
        ("columns: {file: A, boxes: a, x1: a, y1: b, x2: c, y2: d}", "under boxes: columns x1"),
        ("boxes: {format: corners}", "under boxes: format: 'corners': expected one of xyxy"),
        ("colours: {cyst: [1, 2, 300]}", "colours.cyst"),
        ("frames_from: 2", "frames_from: '2'"),
        ("separator: ';;'", "separator: ';;': expected one character"),
        ("columns: {patient_id: A}\ntable: t.csv", "no `file`"),
        ("columns: {file: B}\ntable: t.csv", "no column B; found A"),
        ("table: ../t.csv", "no table"),
        ("a: [", "cannot be read as yaml"),
        (b"\xff\xfe\x00", "cannot be read as yaml"),
    ],
)
def test_maps_that_are_none(tmp_path, text, message):
    put(tmp_path / "images", "a.png")
    (tmp_path / "t.csv").write_text("A\na.png\n")
    path = tmp_path / "map.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ExportError, match=message) as caught:
        read_export(tmp_path, Options(columns=path, reader="table"))
    assert "map.yaml" in str(caught.value) or "t.csv" in str(caught.value)


def test_tables_that_cannot_be_unpacked(tmp_path):
    put(tmp_path / "images", "a.png")
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ExportError, match=r"table.xlsx cannot be read as xlsx"):
        read_export(tmp_path)
    (tmp_path / "table.csv").write_text("x")
    with pytest.raises(ExportError, match=r"table.csv and table.xlsx"):
        read_export(tmp_path)


# -- masks


def test_masks_in_black_and_white_with_several_lesions_or_files(tmp_path):
    put(tmp_path / "images", "one.png", "many.png", "folder.png", "none.png")
    mask = np.zeros((80, 100), np.uint8)
    first, second = mask.copy(), mask.copy()
    first[10:20, 10:20] = first[40:50, 60:70] = 255
    second[30:60, 5:25] = 1
    for name, pixels in {
        "one": first,
        "many_mask": first,
        "many_mask_1": second,
        "folder/x": second,
        "none": mask,
        "stray": mask,
    }.items():
        path = tmp_path / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    found = by_file(tmp_path)
    assert boxes_of(found["one.png"]) == [((10, 10, 20, 20), "lesion"), ((60, 40, 70, 50), "lesion")]
    assert [lesion.box for lesion in found["many.png"].lesions] == [(10, 10, 70, 50), (5, 30, 25, 60)]
    assert [lesion.box for lesion in found["folder.png"].lesions] == [(5, 30, 25, 60)]
    assert found["none.png"].kept and found["none.png"].diagnosis == "normal"
    assert found["masks/stray.png"].reason == "no_file"


def test_masks_with_colours_or_grey_values_of_ones_own(tmp_path):
    put(tmp_path / "images", "a.png")
    colours = np.zeros((80, 100, 3), np.uint8)
    colours[10:20, 10:20], colours[40:50, 60:70], colours[60:70, 5:15] = (0, 0, 200), (200, 0, 0), (9, 9, 200)
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), colours)
    (tmp_path / "map.yaml").write_text("colours: {cyst: '#c80000', HCC: [0, 0, 200]}")
    record = by_file(tmp_path, columns=tmp_path / "map.yaml")["a.png"]
    assert boxes_of(record) == [((10, 10, 20, 20), "cyst"), ((60, 40, 70, 50), "HCC")]
    assert codes(record) == ["colour_unknown"] and "near 5,60" in record.notes[0].detail
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), (colours[..., 2] > 0) * np.uint8(2))
    (tmp_path / "map.yaml").write_text("colours: {cyst: 2}")
    assert [label for _, label in boxes_of(by_file(tmp_path, columns=tmp_path / "map.yaml")["a.png"])] == ["cyst"] * 2


# -- files, names, metadata


def test_hidden_files_odd_names_pipes_and_folders_that_cannot_be_read(tiny, monkeypatch):
    composed, decomposed = unicodedata.normalize("NFC", "Zürich é.png"), unicodedata.normalize("NFD", "Zürich é.png")
    tiny.add("a [1] (2).PNG", data=b"x")
    tiny.add(decomposed, data=b"x", row=False)
    tiny.add(composed)
    tiny.add("肝臓/图像.png", data=b"x")
    for name in (".DS_Store", "Thumbs.db", "._a.png", "__MACOSX/a.png"):
        tiny.add(name, data=b"x", row=False)
    (tiny.save() / "images" / "shut").mkdir()
    os.mkfifo(tiny.folder / "images" / "pipe.png")
    (tiny.folder / "images" / "loop").symlink_to(tiny.folder / "images")
    (tiny.folder / "images" / "dangling.png").symlink_to(tiny.folder / "nowhere")
    (tiny.folder / "images" / os.fsdecode(b"latin\xe9.png")).write_bytes(b"x")
    enter = os.scandir

    def scandir(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return enter(path)

    monkeypatch.setattr(os, "scandir", scandir)
    source = read_export(tiny.folder)
    found = {record.file: record for record in source.records}
    assert found["a [1] (2).PNG"].kept and found["肝臓/图像.png"].kept
    assert found[decomposed].kept and codes(found[decomposed]) == ["name_normalised"]
    reasons = {file: record.reason for file, record in found.items() if not record.kept}
    assert reasons == {
        "shut": "unreadable_folder",
        "pipe.png": "not_a_file",
        "dangling.png": "no_row",
        "latin\\udce9.png": "bad_file_name",
    }
    assert source.remarks == ["4 hidden files passed over (.DS_Store, ._a.png, Thumbs.db, __MACOSX)"]


def test_deep_colour_is_mapped_and_never_copied(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 4096, (30, 40, 3)).astype(np.uint16)
    expected = np.round((deep - float(deep.min())) * 255 / (int(deep.max()) - int(deep.min())))
    for name in ("a.png", "a.tiff"):
        cv2.imwrite(str(tmp_path / name), deep[..., ::-1])
        picture = decode(tmp_path / name)
        assert not picture.as_is and np.array_equal(picture.pixels, expected), name
        cv2.imwrite(str(tmp_path / name), deep[..., 0])
        assert decode(tmp_path / name).pixels.shape == (30, 40) and not decode(tmp_path / name).as_is
    pages = [Image.fromarray(sector(seed, 40, 30)) for seed in range(3)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    assert "first of 3 pages" in decode(tmp_path / "pages.tiff").change
    for name, reason in ((".", "not_readable"), ("absent", "missing"), ("\0", "not_readable")):
        with pytest.raises(UnreadableImage, match=reason):
            decode(tmp_path / name)


def test_patients_that_contradict_themselves(tiny):
    tiny.add("a.png", data=b"x", patient_id="P", sex="M", age="20")
    tiny.add("b.png", data=b"x", patient_id="P", sex="F", age="70")
    tiny.add("c.png", data=b"x", patient_id="Q", age="0", diagnosis="metastasis")
    tiny.add("C.png", data=b"x", patient_id="R", age="12", diagnosis="HCC")
    found = by_file(tiny.save())
    assert codes(found["a.png"]) == codes(found["b.png"]) == ["patient_sexes_differ", "patient_ages_differ"]
    assert codes(found["c.png"]) == ["age_implausible", "age_against_diagnosis", "name_alike"]
    assert codes(found["C.png"]) == ["age_against_diagnosis", "name_alike"] and found["C.png"].age == 12


def test_a_metadata_table_completes_any_layout(tmp_path):
    put(tmp_path / "images", "a.png")
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), np.zeros((80, 100), np.uint8))
    (tmp_path / "metadata.csv").write_text(
        "file_name,patient,gender,age,day,device\na.png,P1,f,50,7,X\nb.png,P2,f,5,7,X\n"
    )
    source = read_export(tmp_path)
    record = source.records[0]
    assert (record.patient_id, record.sex, record.age) == ("P1", "F", 50)
    assert record.extra == {"day": 7, "device": "X"} and source.has_patient_ids
    assert "metadata.csv: 1 of 2 rows name no image of the export" in source.remarks


def test_the_worked_examples_of_the_page(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "data_prep_inputs.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    put(tmp_path / "one" / "images", "1.png")
    book = openpyxl.Workbook()
    book.create_sheet("Boxes")
    for row in (["No", "Patient", "Years", "ROIs"], [1, "A-17", 61, "10 20 30 40 HCC|1 1 5 5 cyst"]):
        book["Boxes"].append(row)
    book.save(tmp_path / "one" / "findings.xlsx")
    put(tmp_path / "two" / "pictures", "a b.png", "c.png")
    (tmp_path / "two" / "findings.csv").write_text(re.search(r"```\n(Image;.*?)```", page, re.DOTALL)[1])
    for name, text in (("one", first), ("two", second)):
        (tmp_path / name / "map.yaml").write_text(text)
    record = by_file(tmp_path / "one", columns=tmp_path / "one" / "map.yaml")["1.png"]
    assert boxes_of(record) == [((10, 20, 40, 60), "HCC"), ((1, 1, 6, 6), "cyst")]
    assert (record.patient_id, record.age, record.sex) == ("A-17", 61, "F")
    found = by_file(tmp_path / "two", columns=tmp_path / "two" / "map.yaml")
    assert [len(found[name].lesions) for name in ("a b.png", "c.png")] == [2, 0]
    assert found["c.png"].diagnosis == "normal" and found["a b.png"].extra == {"Day": "3"}
