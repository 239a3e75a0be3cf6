"""The phantom: physics, boxes, determinism, and that every planted fault is where the truth says."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.errors import OptionError
from data_prep.phantom import generate_export, render_frame
from data_prep.phantom.__main__ import main
from data_prep.phantom.anatomy import sample_patient
from data_prep.phantom.faults import BROKEN, RATES
from data_prep.phantom.geometry import MARGIN, NUM_LINES, make_sector
from data_prep.phantom.lesions import CLASSES
from data_prep.phantom.machines import MACHINES
from data_prep.phantom.physics import SHAPE, Psf, complex_noise, depths, envelope, path_gain_db

SECTOR = make_sector((640, 480), 50, np.deg2rad(34), 140, 0.95, (0, 0))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def boxes_of(row: dict[str, str]) -> list[tuple[float, ...]]:
    return [tuple(map(float, b.split(",")[:4])) for b in row["boxes"].split(";") if b]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "export"
    generate_export(out, num_images=64, size=420, seed=3, twins=True)
    return out


@pytest.fixture(scope="module")
def truth(export: Path) -> dict[str, list[tuple[str, dict]]]:
    kinds: dict[str, list[tuple[str, dict]]] = {}
    for row in read(export / "truth.csv"):
        kinds.setdefault(row["kind"], []).append((row["file"], json.loads(row["detail"])))
    return kinds


@pytest.fixture(scope="module")
def table(export: Path) -> dict[str, dict[str, str]]:
    return {row["file"]: row for row in read(export / "table.csv")}


@pytest.fixture(scope="module")
def frames() -> list[tuple[np.ndarray, list]]:
    rng = np.random.default_rng(11)
    return [render_frame(rng, 420, CLASSES[i % 4]) for i in range(48)]


def homogeneous(psf: Psf, seed: int = 0) -> np.ndarray:
    return envelope(complex_noise(np.random.default_rng(seed)), np.ones(SHAPE, np.float32), SECTOR, psf)


def correlation_length(rows: np.ndarray) -> float:
    """Lags (lines) until the autocovariance across the lines has fallen to a half."""
    power = rows**2 - (rows**2).mean()
    curve = np.array([(power[:, : -lag or None] * power[:, lag:]).mean() for lag in range(12)])
    curve /= curve[0]
    lag = int(np.argmax(curve < 0.5))
    return lag - 1 + (curve[lag - 1] - 0.5) / (curve[lag - 1] - curve[lag])


def test_envelope_of_homogeneous_tissue_is_rayleigh() -> None:
    patch = np.concatenate([homogeneous(Psf(), seed)[100:350:4, 20:-20:6].ravel() for seed in range(6)])
    assert patch.mean() / patch.std() == pytest.approx(1.913, abs=0.05)  # sqrt(pi / (4 - pi))
    assert (patch**2).mean() == pytest.approx(1.0, rel=0.05)
    assert np.quantile(patch**2, 0.5) == pytest.approx(np.log(2), rel=0.06)  # intensity is exponential


def test_speckle_widens_away_from_the_focus() -> None:
    env = np.concatenate([homogeneous(Psf(focus_mm=60, field_mm=30), seed) for seed in range(4)], axis=1)
    spacing = (SECTOR.radius_mm + depths(SECTOR)) * SECTOR.line_step
    width = {}
    for name, mm in (("near", 25), ("focus", 60), ("far", 130)):
        mid = int(mm / SECTOR.sample_mm)
        width[name] = correlation_length(env[mid - 20 : mid + 20]) * spacing[mid]
    assert width["near"] > 1.15 * width["focus"]
    assert width["far"] > 1.7 * width["focus"]


def test_fluid_brightens_and_gas_darkens_what_lies_behind() -> None:
    att = np.zeros(SHAPE, np.float32)
    att[100:150, 50] = -0.3
    att[100:150, 90] = 1.0
    gain = path_gain_db(att, SECTOR)
    assert gain[300, 50] == pytest.approx(0.3 * 50 * SECTOR.sample_mm, rel=0.05)
    assert gain[300, 90] < -10
    assert gain[300, 70] == 0


def test_polar_cells_and_pixels_agree() -> None:
    points = np.array([[0.0, 0.0], [0.0, 140.0]])
    cells = SECTOR.to_cells(points)
    assert cells[:, 0].tolist() == [0, SHAPE[0] - 1]
    assert abs(cells[0, 1] - (MARGIN + (NUM_LINES - 1) / 2)) <= 0.5
    assert SECTOR.to_pixels(points)[1, 1] - SECTOR.to_pixels(points)[0, 1] == pytest.approx(
        140 * SECTOR.px_per_mm
    )


def contrast(image: np.ndarray, box: tuple) -> float:
    """Mean of the middle of a box minus the mean of a rim to its left and right."""
    x1, y1, x2, y2 = (round(v) for v in box[:4])
    w, h = x2 - x1, y2 - y1
    rows = slice(y1 + h // 4, y2 - h // 4)
    inside = image[rows, x1 + w // 4 : x2 - w // 4].mean()
    left, right = image[rows, max(x1 - w // 4, 0) : x1], image[rows, x2 : x2 + w // 4]
    return float(inside - np.concatenate([left, right], axis=1).mean())


def test_boxes_lie_on_lesions(frames: list[tuple[np.ndarray, list]]) -> None:
    values: dict[str, list[float]] = {c: [] for c in CLASSES}
    for image, boxes in frames:
        for box in boxes:
            values[box[4]].append(contrast(image, box))
    assert np.mean(values["cyst"]) < -40
    assert np.mean(values["HCC"]) < -5
    assert np.mean(values["hemangioma"]) > 20
    assert max(values["cyst"]) < 0 < min(values["hemangioma"])


def test_cyst_box_edges_are_where_the_dark_ends(frames: list[tuple[np.ndarray, list]]) -> None:
    errors = []
    for image, boxes in frames:
        for x1, y1, x2, y2, kind in boxes:
            if kind == "cyst" and x1 > 12 and x2 < image.shape[1] - 12:
                mid = round((y1 + y2) / 2)
                row = image[mid - 2 : mid + 3, round(x1) - 12 : round(x2) + 12].mean(0)
                row = cv2.GaussianBlur(row[None].astype(np.float32), (5, 1), 0)[0]
                centre, rim = (
                    row[len(row) // 3 : -len(row) // 3].mean(),
                    (row[:4].mean() + row[-4:].mean()) / 2,
                )
                dark = np.flatnonzero(row < (centre + rim) / 2)
                dark = dark[(dark > 4) & (dark < len(row) - 5)]
                errors += [dark[0] - 12, len(row) - 12 - dark[-1]]
    assert len(errors) > 20
    assert abs(np.median(errors)) < 3  # pixels


def test_frames_look_like_a_sector(frames: list[tuple[np.ndarray, list]]) -> None:
    for image, boxes in frames:
        assert image.dtype == np.uint8 and image.ndim == 2
        assert 1 <= len(boxes) <= 6
        assert image[:, :2].mean() < 12 and image[0].mean() < 12  # dark surround
        assert 0.2 < (image > 8).mean() < 0.75
    medians = [np.median(image[image > 8]) for image, _ in frames]
    assert 40 < np.mean(medians) < 130


def test_typical_box_sizes(frames: list[tuple[np.ndarray, list]]) -> None:
    area: dict[str, list[float]] = {c: [] for c in CLASSES}
    width = []
    for image, boxes in frames:
        for x1, y1, x2, y2, kind in boxes:
            assert 0 <= x1 < x2 <= image.shape[1] and 0 <= y1 < y2 <= image.shape[0]
            area[kind].append((x2 - x1) * (y2 - y1))
            width.append((x2 - x1) / image.shape[1])
    others = [v for kind, values in area.items() if kind != "cyst" for v in values]
    assert np.mean(area["cyst"]) < 0.75 * np.mean(others)
    assert np.quantile(width, 0.1) > 0.06
    assert np.quantile(width, 0.9) < 0.28


def test_same_seed_gives_the_same_bytes_whatever_the_jobs(tmp_path: Path) -> None:
    for name, jobs, seed in (("one", 1, 5), ("two", 2, 5), ("other", 1, 6)):
        generate_export(
            tmp_path / name, num_patients=5, images_per_patient=(1, 2), size=96, seed=seed, jobs=jobs
        )
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    one, other = digest(tmp_path / "one"), digest(tmp_path / "other")
    assert not set(one.values()) & set(other.values()) - {hashlib.sha256(b"").hexdigest(), one["truth.csv"]}


def test_counts_honour_parameters(tmp_path: Path) -> None:
    summary = generate_export(tmp_path / "a", num_patients=6, images_per_patient=(2, 3), size=80, faults=0)
    rows = read(tmp_path / "a" / "table.csv")
    per_patient = [sum(r["patient_id"] == p for r in rows) for p in {r["patient_id"] for r in rows}]
    assert len(per_patient) == summary.num_patients == 6 and set(per_patient) <= {2, 3}
    assert summary.num_files == summary.num_rows == summary.num_images == sum(per_patient)
    assert summary.faults == {} and read(tmp_path / "a" / "truth.csv") == []
    assert generate_export(tmp_path / "b", num_images=7, size=80).num_images == 7
    both = generate_export(tmp_path / "c", num_patients=3, num_images=8, size=80)
    assert (both.num_patients, both.num_images) == (3, 8)


def test_clean_table_equals_truth(tmp_path: Path) -> None:
    generate_export(tmp_path / "a", num_patients=8, size=80, faults=0)
    listed = sum(len(boxes_of(r)) for r in read(tmp_path / "a" / "table.csv"))
    true = read(tmp_path / "a" / "truth_boxes.csv")
    assert listed == len(true) > 0 and all(b["labelled"] == "1" for b in true)


def test_every_kind_of_fault_is_planted(truth: dict) -> None:
    assert set(truth) == set(RATES)


def test_files_and_rows(export: Path, truth: dict, table: dict) -> None:
    files = {p.name for p in (export / "images").iterdir()}
    assert {f for f, _ in truth["row_without_file"]} == set(table) - files
    assert {f for f, _ in truth["file_without_row"]} == files - set(table)


def test_broken_files_are_exactly_those_named(export: Path, truth: dict) -> None:
    named = {f for kind in BROKEN for f, _ in truth[kind]}
    for path in (export / "images").iterdir():
        data = np.frombuffer(path.read_bytes(), np.uint8)
        whole = path.suffix == ".png" and path.read_bytes().endswith(b"IEND\xaeB`\x82")
        whole |= (
            path.suffix == ".jpg" and path.read_bytes()[:2] == b"\xff\xd8" and bytes(data[-2:]) == b"\xff\xd9"
        )
        assert whole == (path.name not in named), path.name
        if whole:
            assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED) is not None
    assert all((export / "images" / f).stat().st_size == 0 for f, _ in truth["empty_file"])


def test_only_small_frames_are_small(export: Path, truth: dict) -> None:
    small = {f for f, _ in truth["small_frame"]}
    broken = {f for kind in BROKEN for f, _ in truth[kind]}
    for path in (export / "images").iterdir():
        if path.name not in broken:
            height, width = cv2.imread(str(path)).shape[:2]
            assert (max(height, width) <= 400) == (path.name in small)
            assert path.name in small or min(height, width) > 400


def test_near_duplicates_resemble_their_source(export: Path, truth: dict, table: dict) -> None:
    def thumb(name: str) -> np.ndarray:
        image = cv2.imread(str(export / "images" / name), cv2.IMREAD_GRAYSCALE)
        return cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA).astype(float).ravel()

    for name, detail in truth["near_duplicate"]:
        source = detail["of"]
        pixels = [cv2.imread(str(export / "images" / f), cv2.IMREAD_GRAYSCALE) for f in (name, source)]
        assert np.any(pixels[0] != pixels[1])
        assert np.corrcoef(thumb(name), thumb(source))[0, 1] > 0.95
        if {name, source} <= set(table):
            assert table[name]["patient_id"] == table[source]["patient_id"]


def test_overlays_are_where_the_mask_says(export: Path, truth: dict) -> None:
    for kind in ("colour_scale", "caliper", "burned_text", "grey_bar"):
        for name, detail in truth[kind]:
            stem = export / "truth" / Path(name).stem
            mask = cv2.imread(f"{stem}_overlay.png", cv2.IMREAD_GRAYSCALE) > 0
            clean, image = cv2.imread(f"{stem}_clean.png"), cv2.imread(str(export / "images" / name))
            assert 0 < mask.mean() < 0.2
            if name.endswith(".png"):
                assert np.array_equal(image[~mask], clean[~mask])
            if detail.get("colour") in ("blue", "yellow"):
                blue, red = (image[mask][:, c].astype(int).mean() for c in (0, 2))
                assert (blue > red) == (detail["colour"] == "blue")


def test_wrong_boxes(truth: dict, table: dict, export: Path) -> None:
    def size(name: str) -> tuple[int, int]:
        height, width = cv2.imread(str(export / "images" / name)).shape[:2]
        return width, height

    for name, _ in truth["box_outside"]:
        assert any(b[0] >= size(name)[0] for b in boxes_of(table[name]))
    for name, _ in truth["box_partly_outside"]:
        assert any(b[0] < size(name)[0] < b[2] for b in boxes_of(table[name]))
    for name, _ in truth["box_empty"]:
        assert any(b[0] == b[2] for b in boxes_of(table[name]))
    for name, _ in truth["box_inverted"]:
        assert any(b[0] > b[2] and b[1] > b[3] for b in boxes_of(table[name]))


def test_unlabelled_lesions_stay_in_the_truth(truth: dict, table: dict, export: Path) -> None:
    missing = [b for b in read(export / "truth_boxes.csv") if b["labelled"] == "0"]
    assert sorted(b["file"] for b in missing) == sorted(f for f, _ in truth["lesion_unlabelled"])
    for box in missing:
        corner = (float(box["x1"]), float(box["y1"]))
        assert corner not in [b[:2] for b in boxes_of(table[box["file"]])]


def test_implausible_ages_and_sex_codes(truth: dict, table: dict) -> None:
    odd_age = {f for f, _ in truth["age_implausible"]}
    odd_sex = {f for f, _ in truth["sex_odd"]}
    for name, row in table.items():
        assert (row["age"].isdigit() and 18 <= int(row["age"]) <= 94) == (name not in odd_age)
        assert (row["sex"] in ("M", "F")) == (name not in odd_sex)


def test_demography_follows_the_diagnosis() -> None:
    rng = np.random.default_rng(0)
    people = {d: [sample_patient(rng, SECTOR, d) for _ in range(40)] for d in ("HCC", "hemangioma")}
    male = {d: np.mean([p.sex == "M" for p in some]) for d, some in people.items()}
    age = {d: np.mean([p.age for p in some]) for d, some in people.items()}
    assert male["HCC"] > 0.6 > male["hemangioma"]
    assert age["HCC"] > age["hemangioma"] + 8


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({}, "Neither"),
        ({"num_patients": 0}, "num_patients is 0"),
        ({"num_patients": 2, "images_per_patient": (3, 1)}, r"3\.\.1"),
        ({"num_patients": 9, "num_images": 4}, "4 images for 9"),
        ({"num_patients": 1, "size": 10}, "size is 10"),
        ({"num_patients": 1, "faults": -1.0}, "faults is -1"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, kwargs: dict, word: str) -> None:
    with pytest.raises(OptionError, match=word):
        generate_export(tmp_path / "x", **kwargs)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(tmp_path / "x"), "--patients", "2", "--images-per-patient", "1..2", "--size", "80", "--clean"]
    assert main(args) == 0
    assert "2 patients" in capsys.readouterr().out
    assert main(args) == 2
    assert "already holds an export" in capsys.readouterr().err


def test_every_machine_draws(tmp_path: Path) -> None:
    for machine in MACHINES:
        image, _ = render_frame(np.random.default_rng(1), 200, "cyst", machine)
        assert image.max() > 150
