"""Graded fundus sets: the published crop, sides by patient, every fault named, runs that can be taken up again."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep import fundus
from data_prep.__main__ import main
from data_prep.errors import InterruptedRun
from data_prep.fundus_crop import crop_box, crop_chunk, squeeze
from data_prep.fundus_options import FundusOptions
from data_prep.saliency import fundus_saliency
from tests.graded import draw_fundus

SIZE = 64


@pytest.mark.parametrize("name", ["wide_disc", "near_square", "wide_small_disc", "tall"])
def test_crop_is_the_published_one(golden_dir: Path, name: str) -> None:
    golden = np.load(golden_dir / "ssit_crop.npz")
    image = Image.fromarray(golden[f"{name}.image"])
    box, how = crop_box(image)
    assert box == tuple(golden[f"{name}.bbox"]) and how == ("retina" if name == "wide_disc" else "centre")
    ours = np.asarray(squeeze(image, box, 64)).astype(int)
    assert np.abs(ours - golden[f"{name}.resized"]).max() <= 1


def export(root: Path, patients: int = 15) -> Path:
    """Both eyes of some patients in sub-folders by grade, wide frames, and a table whose paths start in photos/."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(patients):
        for eye in "LR":
            grade = (patient + (eye == "R")) % 5
            name = f"{grade}/p{patient:02d}_{eye}.jpg"
            (root / "photos" / str(grade)).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "photos" / name), draw_fundus(rng, 96, grade, width=144)[0])
            rows.append({"image": name, "patient": f"p{patient:02d}", "grade": str(grade)})
    save(root, rows)
    return root


def save(root: Path, rows: list[dict]) -> None:
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "patient", "grade"])
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def command(root: Path, out: Path, *more: str) -> int:
    words = ["fundus", str(root), str(out), "--label-column", "grade", "--size", str(SIZE), "--jobs", "1", "--quiet"]
    return main([*words, *more])


def test_whole_way(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(export(tmp_path / "export"), out) == 0
    rows = read(out / "labels.csv")
    assert len(rows) == 30 and list(rows[0]) == ["image", "patient", "label", "split"]
    sides = defaultdict(set)
    for row in rows:
        sides[row["patient"]].add(row["split"])
        image = cv2.imread(str(out / "images" / row["image"]))
        found = cv2.imread(str(out / "saliency" / row["image"][:-3]) + "png", cv2.IMREAD_UNCHANGED)
        assert image.shape == (SIZE, SIZE, 3) and np.array_equal(found, fundus_saliency(image))
        assert row["label"] == row["image"][0]
        assert image[:, SIZE // 2].any(axis=1).mean() > 0.9  # the disc fills the square
    assert all(len(found) == 1 for found in sides.values())
    counts = [sum(row["split"] == side for row in rows) for side in ("train", "val", "test")]
    assert counts == [18, 6, 6]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["crop"] == {"retina": 30} and summary["rejected"] == {}


def test_unusable_rows_are_named(tmp_path: Path) -> None:
    root, out = export(tmp_path / "export"), tmp_path / "out"
    photos, rows = root / "photos", read(root / "labels.csv")
    (photos / "0/p00_L.jpg").write_bytes((photos / "0/p00_L.jpg").read_bytes()[:900])
    (photos / "1/p00_R.jpg").write_bytes(b"")
    (photos / "3/p03_L.jpg").write_bytes((photos / "4/p03_R.jpg").read_bytes())
    cv2.imwrite(str(photos / "4/p04_L.jpg"), np.zeros((96, 144, 3), np.uint8))
    (photos / "1/p01_L.jpg").unlink()
    rows[10]["grade"], rows[12]["patient"], rows[14]["grade"] = "severe", "", ""
    save(root, [*rows, rows[20]])
    assert command(root, out) == 0
    report = {row["file"]: row for row in read(out / "report.csv") if row["status"] == "dropped"}
    reasons = {name: row["reason"] for name, row in report.items()}
    assert reasons == {
        "0/p00_L.jpg": "truncated",
        "1/p00_R.jpg": "zero_bytes",
        "4/p03_R.jpg": "same_pixels",
        "4/p04_L.jpg": "flat",
        "1/p01_L.jpg": "missing",
        rows[10]["image"]: "bad_label",
        rows[12]["image"]: "no_patient",
        rows[20]["image"]: "listed_twice",
    }
    assert "severe" in report[rows[10]["image"]]["detail"]
    written = {row["image"]: row for row in read(out / "labels.csv")}
    assert written[rows[14]["image"]]["label"] == ""  # an unknown grade stays, for pre-training
    assert len(written) == 31 - len(reasons)
    files = {path.relative_to(out / "images").as_posix() for path in (out / "images").rglob("*.jpg")}
    assert files == set(written)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--label-column", "dr"], "has no column dr; it has image, patient, grade"),
        (["--table", "absent.csv"], "no table"),
        (["--images", "absent"], "is no folder"),
        (["--size", "8"], "--size 8: expected 16"),
        (["--jobs", "0"], "--jobs 0: expected at least 1"),
        (["--split", "0.9/0.1"], "expected three positive fractions"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], message: str) -> None:
    assert command(export(tmp_path / "export", 3), tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["export"]  # nothing is left behind


def test_refuses_a_table_without_grades(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = export(tmp_path / "export", 4)
    save(root, [{**row, "grade": ""} for row in read(root / "labels.csv")])
    assert command(root, tmp_path / "out") == 2
    assert "none of 8 photographs has a grade in column grade" in capsys.readouterr().err


def test_no_crop_and_no_saliency(tmp_path: Path) -> None:
    root, out = export(tmp_path / "export", 5), tmp_path / "out"
    assert command(root, out, "--no-crop", "--no-saliency") == 0
    assert not (out / "saliency").exists()
    name = read(out / "labels.csv")[0]["image"]
    whole = Image.open(root / "photos" / name).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(Image.open(out / "images" / name)).astype(int)).max() <= 6


def test_two_seeds_and_two_processes(tmp_path: Path) -> None:
    root = export(tmp_path / "export")
    for name, words in {"a": [], "b": ["--jobs", "2"], "c": ["--seed", "1"]}.items():
        assert command(root, tmp_path / name, *words) == 0
    a, b, c = ((tmp_path / name / "labels.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_interrupted_run_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = export(tmp_path / "export", 20), tmp_path / "out"  # 40 images, two chunks
    options = FundusOptions(label_column="grade", size=SIZE, quiet=True)
    seen: list[int] = []

    def breaks(jobs):
        if seen:
            raise OSError("disk full")
        seen.append(len(jobs))
        return crop_chunk(jobs)

    monkeypatch.setattr(fundus, "crop_chunk", breaks)
    with pytest.raises(InterruptedRun):
        fundus.prepare_fundus(root, out, options)
    assert not out.exists()
    counted: list[int] = []
    monkeypatch.setattr(fundus, "crop_chunk", lambda jobs: counted.append(len(jobs)) or crop_chunk(jobs))
    assert fundus.prepare_fundus(root, out, options)["images"] == 40
    assert counted == [8]  # only the second chunk
