"""Damaged exports: every reader ends with an `Export` or with a `DataPrepError` that names the file, never otherwise.

The long run of docs/data_prep_inputs.md: ``DATA_PREP_FUZZ_CASES=1000 pytest -s tests/data_prep/test_fuzz_readers.py``.
"""

import io
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.dicom import read_facts
from data_prep.errors import DataPrepError, UnreadableImage
from data_prep.images import decode
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.readers import READERS, read_export
from data_prep.readers.overview import overview
from data_prep.readers.pixels import image_size

from .conftest import sector
from .test_readers_dicom import dicom_bytes, regions
from .test_readers_formats import coco, voc

CASES = int(os.environ.get("DATA_PREP_FUZZ_CASES", "0"))
FUZZ = settings(
    max_examples=CASES or 100,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
OUTCOMES: Counter = Counter()


@pytest.fixture(scope="module", autouse=True)
def _tell():
    start = time.perf_counter()
    yield
    print(f"\nfuzzing: {sum(OUTCOMES.values())} cases in {time.perf_counter() - start:.0f} s: {dict(OUTCOMES)}")


def encoded(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def sheet(*rows):
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


@cache
def exports() -> dict[str, tuple[dict[str, bytes], tuple[str, ...]]]:
    """Valid exports as files by path, and which of them are damaged."""
    small, *others = (sector(seed, 40, 30) for seed in range(4))
    images = {
        "images/a.png": encoded(".png", small),
        "images/b b.jpg": encoded(".jpg", others[0]),
        "images/c.tif": encoded(".tif", np.stack([others[1].astype(np.uint16) * 200] * 3, 2)),
        "images/d.bmp": encoded(".bmp", np.stack([others[2]] * 3, 2)),
    }
    names = [name.removeprefix("images/") for name in images]
    lines = [f'{name},P1,44,M,cyst,"1,2,30,20,cyst;3,3,9,9,HCC"' for name in names]
    table = {"table.csv": "\n".join(["file,patient_id,age,sex,diagnosis,boxes", *lines]).encode()}
    columns = {"file": "Name", "patient_id": "Id", **{key: key for key in ("x", "y", "width", "height")}}
    mapped = {"columns": columns, "boxes": {"normalised": "yes"}, "constants": {"label": "cyst", "sex": "F"}}
    mapped |= {"extra": ["day"], "values": {"patient_id": {"1": "P1"}}, "table": "list.xlsx"}
    cells = sheet(["Name", "Id", "x", "y", "width", "height", "day"], *([n, 1, 0.1, 0.2, 0.5, 0.5, 3] for n in names))
    entries = [{"id": k, "file_name": n, "width": 40, "height": 30, "meta": {"age": 4}} for k, n in enumerate(names)]
    boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 2, 20, 20]} for k in range(3)]
    boxes += [{"id": 9, "image_id": 3, "category_id": 2, "segmentation": {"size": [3, 2], "counts": [1, 2, 3]}}]
    mask = np.zeros((30, 40, 3), np.uint8)
    mask[5:15, 5:15, 1] = 255
    stems = [name.rpartition(".")[0] for name in names]
    masks = {f"masks/{stem}.png": encoded(".png", mask if k else mask[..., 1]) for k, stem in enumerate(stems)}
    object_ = ("cyst", (1, 2, 30, 20))
    xmls = {f"Annotations/{stem}.xml": voc(f"{stem}.png", object_, size=(40, 30)) for stem in stems}
    labels = {f"labels/{stem}.txt": b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.5 0.2 0.3 0.9\n" for stem in stems}
    header = {"PatientName": "Zaubermann^Ottokar", "PatientID": "X1", "PatientAge": "045Y", "PatientSex": "F"}
    header |= {"WindowCenter": 80, "WindowWidth": 90}
    header["SequenceOfUltrasoundRegions"] = regions((2, 3, 30, 25))
    frames = np.stack([sector(seed, 40, 30) for seed in range(3)])
    dicoms = {
        "a.dcm": dicom_bytes(small, **header),
        "many.dcm": dicom_bytes(np.stack([frames] * 3, 3), kind="YBR_FULL", frames=3, **header),
        "deep.dcm": dicom_bytes(small.astype(np.uint16) * 16, kind="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-9),
    }
    found = {
        "table": (images | table, ("table.csv",)),
        "mapped": (images | {"map.yaml": yaml.dump(mapped).encode(), "list.xlsx": cells}, ("map.yaml", "list.xlsx")),
        "coco": (images | {"all.json": coco(entries, boxes).encode()}, ("all.json",)),
        "voc": (images | {name: text.encode() for name, text in xmls.items()}, tuple(xmls)),
        "yolo": (images | labels | {"data.yaml": b"names: [cyst, HCC]\n"}, (*labels, "data.yaml")),
        "masks": (images | masks, tuple(masks)),
        "dicom": (dicoms, tuple(dicoms)),
        "images": (images | table, tuple(images)),
    }
    return found


TOKENS = [
    *(b"", b"\0", b"\xff\xfe", b"\n", b'"', b"'", b",", b";", b"#", b"-", b"{", b"}", b"[", b"]", b"<", b"&x;", b": "),
    *(b"nan", b"inf", b"-1e999", b"9" * 40, b"9" * 5000, b"null", b"true", b"../../x", b"a.png", b"[" * 3000, b"&a *a"),
    *("é\u0301".encode(), b"\\ud800", "\u2028".encode(), b"\x7f", b"\xff" * 8, b"\0" * 64, b"!!python/object:os.x {}"),
]
PLACES = st.integers(0, 9999)
PIECES = st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6))
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PLACES, st.integers(0, 12), PIECES),
        st.tuples(st.just("end"), PLACES, st.just(0), st.just(b"")),
        st.tuples(st.just("again"), PLACES, st.integers(1, 60), st.just(b"")),
        st.tuples(st.just("lose"), PLACES, st.integers(1, 60), st.just(b"")),
    ),
    min_size=1,
    max_size=4,
)
WORDS = st.one_of(st.text(max_size=6), st.sampled_from(["a.png", "0"]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)


def damage(data: bytes, edits) -> bytes:
    """Apply edits at places that are shares of the length."""
    for kind, place, length, token in edits:
        at = place * len(data) // 10_000
        if kind == "put":
            data = data[:at] + token + data[at + length :]
        elif kind == "end":
            data = data[:at]
        elif kind == "again":
            data = data[: at + length] + data[at:]
        else:
            data = data[:at] + data[at + length :]
    return data


def replace_node(content, path, value):
    """Put ``value`` in place of one node of nested lists and mappings, found by the numbers in ``path``."""
    if not isinstance(content, (dict, list)) or not content or not path:
        return value
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = keys[path[0] % len(keys)]
    content[key] = replace_node(content[key], path[1:], value)
    return content


@cache
def folder_of(kind: str) -> Path:
    """The valid export on disk, written once."""
    folder = Path(FOLDER.name) / kind / "export"
    for file, data in exports()[kind][0].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    return folder


FOLDER = tempfile.TemporaryDirectory()
OPTIONS = {"mapped": "table", "images": "table"}


def outcome(kind: str, damaged: str, data: bytes) -> str:
    """Read the export with one damaged file, decode everything, and hold what a reader promises."""
    folder = folder_of(kind)
    (folder / damaged).write_bytes(data)
    options = Options(reader=OPTIONS.get(kind, kind), columns=folder / "map.yaml" if kind == "mapped" else None)
    read_facts.cache_clear()
    image_size.cache_clear()
    try:
        source = read_export(folder, options)
    except DataPrepError as error:
        text = str(error)
        assert "\n" not in text and len(text) < 1500, text
        assert any(name in text for name in (Path(damaged).name, "map.yaml", "list.xlsx", f"{folder} ")), text
        return "refused"
    else:
        _hold(source)
        troubled = any(record.notes or not record.kept for record in source.records)
        return "read, with notes" if troubled else "read"
    finally:
        assert (folder / damaged).read_bytes() == data
        (folder / damaged).write_bytes(exports()[kind][0][damaged])
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert found == sorted(exports()[kind][0])


def _hold(source) -> None:
    names = [record.file for record in source.records]
    assert names == sorted(set(names)) and all(names)
    (overview(source) + repr(source)).encode()  # everything can be written as UTF-8
    for record in source.records:
        assert "ottokar" not in f"{record.file} {record.patient_id} {record.detail} {record.notes}".casefold()
        json.dumps(record.extra, allow_nan=False)
        if record.kept:
            try:
                assert decode(record.path, record.frame).pixels.dtype == np.uint8
            except UnreadableImage as error:
                assert error.reason and "\n" not in str(error) and "ottokar" not in str(error).casefold()


@pytest.mark.parametrize("kind", ["table", "mapped", "coco", "voc", "yolo", "masks", "dicom", "images"])
def test_damaged_bytes(kind):
    files, targets = exports()[kind]

    @FUZZ
    @given(target=st.sampled_from(targets), edits=EDITS)
    def run(target, edits):
        OUTCOMES[outcome(kind, target, damage(files[target], edits))] += 1

    run()


@pytest.mark.parametrize("kind", ["coco", "mapped"])
def test_values_of_another_kind(kind):
    files, _ = exports()[kind]
    target, load, dump = {
        "coco": ("all.json", json.loads, json.dumps),
        "mapped": ("map.yaml", yaml.safe_load, lambda content: yaml.dump(content, allow_unicode=False)),
    }[kind]

    @FUZZ
    @given(path=st.lists(st.integers(0, 30), max_size=5), value=JSON)
    def run(path, value):
        content = replace_node(load(files[target]), path, value)
        OUTCOMES[outcome(kind, target, dump(content).encode())] += 1

    run()


CELLS = st.one_of(st.text(max_size=8), st.floats().map(str), st.sampled_from(["", "0", "1,2,3,4", "1;2", "a.png", "M"]))


@FUZZ
@given(rows=st.lists(st.lists(CELLS, min_size=5, max_size=7), min_size=1, max_size=4))
def test_tables_of_any_cells(rows):
    text = "file,patient_id,age,sex,diagnosis,boxes\n" + "\n".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows
    )
    OUTCOMES[outcome("table", "table.csv", text.encode("utf-8", "surrogatepass"))] += 1


@settings(FUZZ, max_examples=max(8, CASES // 20))
@given(kind=st.sampled_from(sorted(READERS)), edits=EDITS, which=st.integers(0, 9))
def test_no_partial_output(kind, edits, which):
    files, targets = exports()[kind]
    target = targets[which % len(targets)]
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "export", Path(name) / "out"
        for file, data in {**files, target: damage(files[target], edits)}.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        try:
            prepare(folder, out, Options(reader=kind, min_size=0, leaky_random=True, split=(0.5, 0.25, 0.25)))
        except DataPrepError:
            assert not out.exists() and [path.name for path in Path(name).iterdir()] == ["export"]
            OUTCOMES["run refused"] += 1
        else:
            assert (out / "report.csv").is_file() and (out / "summary.json").is_file()
            OUTCOMES["run done"] += 1
            shutil.rmtree(out)
