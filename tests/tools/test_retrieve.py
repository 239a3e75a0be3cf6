"""tools/retrieve.py: an index of volumes is built, asked, changed, scored; another model is refused."""

import csv
import io
import re
import sys
from pathlib import Path

import cv2
import pytest

from medkit.apis.case_index import CaseIndex
from tests.case_configs import IMAGES, VOLUMES
from tests.prepared import write_prepared
from tests.volume_set import write_volumes
from tools import retrieve


@pytest.fixture
def run(monkeypatch, capsys):
    """Call with the words of a command line; returns what was printed, and the exit status."""

    def call(*words: object) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["retrieve.py", *map(str, words)])
        status = 0
        try:
            retrieve.main()
        except SystemExit as end:
            status = int(end.code or 0)
        return *capsys.readouterr(), status

    return call


def test_volumes_from_build_to_evaluate(tmp_path: Path, run) -> None:
    root, index = write_volumes(tmp_path / "set"), tmp_path / "cases.npz"
    (tmp_path / "c.py").write_text(VOLUMES)
    out, _, _ = run("build", index, tmp_path / "c.py", "none", "--data-root", root, "--splits", "train")
    assert out.endswith("8 cases of 4 subjects (4 control, 4 patient), codes of 128 numbers\n")
    scan, page = root / "images/sub-05_visit-1.nii.gz", tmp_path / "deep/page.html"
    out, err, _ = run("query", index, scan, "--k", 3, "--page", page)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] and rows[0]["query"] == "sub-05_visit-1.nii.gz"
    distances = [float(row["distance"]) for row in rows]
    assert distances == sorted(distances) and distances[0] > 0 and str(page) in err
    html = page.read_text()
    assert all(row["case"] in html and row["visit"] for row in rows) and "Labels of the 3 nearest: " in html
    assert "data:image/jpeg;base64," in html and not re.search(r"(src|href)=\"(?!data:|#)", html)

    known = root / "images/sub-00_visit-1.nii.gz"  # in the index: its subject is known, and left out
    rows = list(csv.DictReader(io.StringIO(run("query", index, known, "--k", 9)[0])))
    assert len(rows) == 6 and "sub-00" not in {row["subject"] for row in rows}

    out, _, _ = run("add", index, scan, "--subject", "new", "--label", "patient", "--visit", "7")
    assert "9 cases of 5 subjects (4 control, 5 patient)" in out
    assert CaseIndex.load(index).cases[-1].visit == "7"
    _, err, status = run("add", index, scan)
    assert status == 2 and "the index holds it already" in err
    out, _, _ = run("remove", index, "sub-05_visit-1.nii.gz", "--subjects", "sub-00")
    assert "6 cases of 3 subjects" in out
    _, err, status = run("remove", index, "--subjects", "nobody")
    assert status == 2 and "no case of subject 'nobody'" in err

    out, _, _ = run("evaluate", index, index, "--queries", root, "--splits", "test", "--k", 1, 2, "--draws", 20)
    assert "4 queries; 95 % over 20 draws of 2 patients" in out and "| mean of classes | 4 (2) |" in out
    assert re.search(r"\| mAP \| \+0.000 \| \[\+0.000, \+0.000\] \|", out)


def test_query_with_another_model_is_refused(tmp_path: Path, run) -> None:
    root, index = write_volumes(tmp_path / "set", subjects=3), tmp_path / "cases.npz"
    (tmp_path / "c.py").write_text(VOLUMES)
    (tmp_path / "d.py").write_text(VOLUMES.replace("percentiles=[1, 99]", "percentiles=[2, 98]"))
    run("build", index, tmp_path / "c.py", "none", "--data-root", root)
    scan = root / "images/sub-00_visit-1.nii.gz"
    _, err, status = run("query", index, scan, "--config", tmp_path / "d.py")
    assert status == 2 and err.count("\n") == 1
    assert err.startswith("error: the query was made with another model than the index (preprocessing")
    (tmp_path / "c.py").unlink()
    _, err, status = run("query", index, scan)
    assert status == 2 and "c.py does not exist" in err
    index.write_bytes(index.read_bytes()[:-40])
    _, err, status = run("query", index, scan)
    assert status == 2 and "cases.npz is damaged" in err


def test_lesions_of_a_coco_set(tmp_path: Path, run) -> None:
    root, index = write_prepared(tmp_path / "set", ("benign", "malignant")), tmp_path / "cases.npz"
    (tmp_path / "c.py").write_text(IMAGES)
    out, _, _ = run("build", index, tmp_path / "c.py", "none", "--data-root", root, "--lesions", tmp_path / "cut")
    assert "15 cases of 15 subjects (9 benign, 6 malignant), codes of 32 numbers" in out
    page = tmp_path / "page.html"
    gone = Path(CaseIndex.load(index).cases[3].path)
    cv2.imwrite(str(tmp_path / "new.png"), cv2.imread(str(gone)))
    gone.unlink()
    run("query", index, tmp_path / "new.png", "--page", page, "--label", "malignant", "--k", 2)
    assert gone.name in page.read_text()  # found by its code, though its picture is gone
    out, _, _ = run("evaluate", index, "--max-queries", 6, "--draws", 10)
    assert "6 queries" in out and "left out: 9 queries not drawn" in out
