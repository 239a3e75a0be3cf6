"""Anomaly sets: exact contamination, roles by patient, copies removed, patches, masks, scores without a model."""

import csv
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.anomaly import auroc
from data_prep.anomaly_cut import CutJob, patch_windows, view_of
from data_prep.anomaly_roles import mixed_counts
from data_prep.errors import EmptyResultError
from tests.anomaly_set import draw_anomaly

SIZE = 32
PATIENTS = 60


def draw(path: Path, rng: np.random.Generator, anomalous: bool) -> np.ndarray:
    picture, mask = draw_anomaly(rng, 48, anomalous)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)
    return mask


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each patient; every third patient is ill and has one image of each kind; a mask for each."""
    root, rng, rows = tmp_path_factory.mktemp("export"), np.random.default_rng(0), []
    for patient in range(PATIENTS):
        for number in range(2):
            ill = patient % 3 == 0 and number == 1
            name = f"{'ILL' if ill else 'NORMAL'}/p{patient:02d}_{number}.png"
            mask = draw(root / name, rng, ill)
            if ill:
                (root / "outlines").mkdir(exist_ok=True)
                cv2.imwrite(str(root / f"outlines/p{patient:02d}.png"), mask)
            outline = f"outlines/p{patient:02d}.png" if ill else ""
            rows.append((name, name.split("/")[0], f"p{patient:02d}", outline))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "kind", "person", "outline"), *rows])
    return root


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(root: Path, out: Path, *more: str) -> int:
    columns = "--table labels.csv --image-column path --label-column kind --patient-column person --mask-column outline"
    return main(["anomaly", str(root), str(out), *columns.split(), *COMMON, *more])


COMMON = ["--healthy", "normal", "--size", str(SIZE), "--jobs", "1", "--quiet"]


def check(out: Path) -> dict[str, list[dict[str, str]]]:
    """Rows by role; no patient has two roles, and every image is there, of the right size and unlike all others."""
    roles, of_patient, seen = defaultdict(list), defaultdict(set), set()
    for row in read(out / "anomaly.csv"):
        roles[row["role"]].append(row)
        of_patient[row["patient"] or row["image"]].add(row["role"])
        image = cv2.imread(str(out / "images" / row["image"]), cv2.IMREAD_UNCHANGED)
        assert image.shape[:2] == (SIZE, SIZE)
        assert image.tobytes() not in seen
        seen.add(image.tobytes())
        if row["mask"]:
            mask = cv2.imread(str(out / "masks" / row["mask"]), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (SIZE, SIZE) and set(np.unique(mask)) == {0, 255} and row["label"] == "1"
            assert image[mask > 0].mean() > image[mask == 0].mean() + 40
    assert all(len(found) == 1 for found in of_patient.values())
    assert {row["label"] for row in roles["healthy"]} == {"0"}
    assert all({row["label"] for row in roles[side]} == {"0", "1"} for side in ("val", "test"))
    images = [path for path in (out / "images").rglob("*") if path.is_file()]
    assert len(images) == sum(map(len, roles.values()))
    return roles


@pytest.mark.parametrize("contamination", ["0", "0.1", "0.3"])
def test_contamination_is_exact_and_changes_nothing_else(export: Path, tmp_path: Path, contamination: str) -> None:
    out = tmp_path / "out"
    assert table(export, out, "--contamination", contamination) == 0
    roles = check(out)
    ill = sum(row["label"] == "1" for row in roles["mixed"])
    assert len(roles["mixed"]) > 10 and ill == round(float(contamination) * len(roles["mixed"]))
    assert all(row["mask"] for role in roles.values() for row in role if row["label"] == "1")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["contamination"] == pytest.approx(ill / len(roles["mixed"]), abs=1e-6)
    assert summary["roles"]["mixed"]["patients"] == len({row["patient"] for row in roles["mixed"]})
    assert ("AUCp" in (out / "summary.txt").read_text()) == (contamination == "0")
    others = {role: [row["image"] for row in roles[role]] for role in ("healthy", "val", "test")}
    assert others == FIRST.setdefault("others", others)


FIRST: dict = {}


def test_sizes_and_seed(export: Path, tmp_path: Path) -> None:
    for number, seed in enumerate("001"):
        more = ["--healthy-size", "20", "--mixed-size", "10", "--contamination", "0.25", "--seed"]
        assert table(export, tmp_path / str(number), *more, seed) == 0
    roles = check(tmp_path / "0")
    assert len(roles["healthy"]) == 20 and Counter(row["label"] for row in roles["mixed"]) == {"0": 8, "1": 2}
    same, again, other = ((tmp_path / name / "anomaly.csv").read_bytes() for name in "012")
    assert same == again != other


def test_folders_of_classes_and_patients_in_names(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["anomaly", str(export), str(out), *COMMON, "--healthy", "NORMAL", "--patient-pattern", r"(p\d+)_"]
    assert main(words) == 0  # the outlines are a class of their own here, all of them anomalous
    assert {row["patient"] for row in read(out / "anomaly.csv")} >= {"p01", "p04"}
    report = {row["file"]: row for row in read(out / "report.csv")}
    assert report["outlines/p03.png"]["diagnosis"] == "anomalous"
    assert "20 images name no patient" in (out / "summary.txt").read_text()


def test_unlabelled_images_are_mixed_as_is(export: Path, tmp_path: Path) -> None:
    rows = read(export / "labels.csv")
    for row in rows[40:100:3]:
        row["kind"] = ""
    with (tmp_path / "some.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for contamination, expected in (("as-is", True), ("0.1", False)):
        out = tmp_path / contamination
        assert table(export, out, "--table", str(tmp_path / "some.csv"), "--contamination", contamination) == 0
        labels = {row["label"] for row in check(out)["mixed"]}
        assert ("" in labels) == expected
        assert (json.loads((out / "summary.json").read_text())["contamination"] is None) == expected


def test_copies_link_patients_and_contradictions_go(export: Path, tmp_path: Path) -> None:
    root = tmp_path / "export"
    rng = np.random.default_rng(1)
    for number in range(40):
        draw(root / f"NORMAL/h{number:02d}.png", rng, False)
        draw(root / f"ILL/i{number:02d}.png", rng, True)
    for source, copy in (("NORMAL/h00", "NORMAL/h99"), ("ILL/i01", "ILL/i98"), ("NORMAL/h02", "ILL/i97")):
        picture = cv2.imread(str(root / f"{source}.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(root / f"{copy}.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])  # other bytes, same pixels
    out = tmp_path / "out"
    assert main(["anomaly", str(root), str(out), *COMMON, "--contamination", "0.5"]) == 0
    check(out)
    reasons = {row["file"]: row["reason"] for row in read(out / "report.csv")}
    assert reasons["NORMAL/h99.png"] == reasons["ILL/i98.png"] == "same_pixels"
    assert reasons["NORMAL/h02.png"] == reasons["ILL/i97.png"] == "contradicting_labels"
    assert json.loads((out / "summary.json").read_text())["rejected"]["same_pixels"] == 2


def test_coco_patches_hold_lesions_or_none(tmp_path: Path) -> None:
    root = tmp_path / "export"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    rng, images, annotations = np.random.default_rng(0), [], []
    for number in range(40):
        frame = np.zeros((200, 260), np.uint8)
        frame[:, 20:240] = rng.integers(60, 120, (200, 220))
        if number % 8:
            x, y = (int(v) for v in rng.integers(70, 120, 2))
            cv2.circle(frame, (x + 15, y + 15), 15, 255, -1)
            annotations.append(dict(id=number, image_id=number, category_id=1, bbox=[x, y, 31, 31]))
        cv2.imwrite(str(root / f"images/f{number}.png"), frame)
        images.append(dict(id=number, file_name=f"f{number}.png", width=260, height=200, patient_id=f"p{number // 2}"))
    (root / "annotations/all.json").write_text(json.dumps(dict(images=images, annotations=annotations, categories=[])))
    out = tmp_path / "out"
    more = ["--coco", "--patches", "64", "--contamination", "0.5", "--mixed-size", "10", "--healthy-share", "0.4"]
    assert main(["anomaly", str(root), str(out), *COMMON, *more]) == 0
    roles = check(out)
    assert len(roles["mixed"]) == 10
    for row in (row for rows in roles.values() for row in rows):
        image = cv2.imread(str(out / "images" / row["image"]), cv2.IMREAD_GRAYSCALE)
        assert (image.max() > 200) == (row["label"] == "1") and (image > 20).mean() > 0.85
    assert abs(json.loads((out / "summary.json").read_text())["baseline_auroc"]["mean_intensity"] - 0.5) > 0.3


def test_lesion_patch_of_one_side_wherever_the_lesion_is() -> None:
    frame, boxes = np.full((240, 240), 90, np.uint8), ((60.0, 60.0, 80.0, 84.0),)
    centres = ((0.25, 0.25), (0.7, 0.7)) * 40
    job = CutJob("", "", "a", True, 0, boxes=boxes, side=64, count=2, centres=centres)
    found = list(patch_windows(frame, job))
    assert [name for name, _, _ in found][:2] == ["_lesion0", "_free0"] and found == list(patch_windows(frame, job))
    for _, (left, top, right, bottom), anomalous in found:
        assert (right - left, bottom - top) == (64, 64) and min(left, top) >= 0 and max(right, bottom) <= 240
        covers = left < 80 and right > 60 and top < 84 and bottom > 60
        assert covers == anomalous


def test_view() -> None:
    assert view_of((100, 60), False, 0.0) == (0, 0, 60, 100)
    assert view_of((100, 60), True, 0.2) == (0, 30, 60, 90)


def test_largest_mixed_of_a_contamination() -> None:
    assert mixed_counts(70, 100, 0.3) == (30, 70)
    assert mixed_counts(100, 9, 0.1) == (9, 85)  # 9.4 of 94 is 9; 95 would need 10 (9.5 rounds to even)
    with pytest.raises(EmptyResultError, match=r"contamination 0\.9 of 50"):
        mixed_counts(50, 20, 0.9, 50)


def test_auroc_counts_pairs() -> None:
    scores, positive = np.array([1.0, 2, 2, 3, 0]), np.array([False, False, True, True, True])
    wins = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(wins))


@pytest.mark.parametrize(
    "more, said",
    [
        (["--contamination", "1"], "--contamination 1.0: expected 0 to below 1"),
        (["--contamination", "half"], "--contamination half: expected a number"),
        (["--patches", "64"], "--patches 64: expected 16 pixels or more, and --coco"),
        (["--patient-column", "name"], "no column name; it has path, kind, person, outline"),
        (["--healthy", "fine"], "is healthy .*expected a label that is fine"),
        (["--healthy-size", "1000"], "role healthy: 1000 images wanted of"),
        (["--patient-pattern", "("], "is no regular expression"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], said: str
) -> None:
    assert table(export, tmp_path / "out", *more) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.search(said, lines[0])
    assert not list(tmp_path.iterdir())
