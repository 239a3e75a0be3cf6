"""The brain phantom varies as it says: disease in ventricles and cortex, person and scanner more, each by itself."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.brain_anatomy import Person, places_mm, render, sample_person, sample_scanner, tissues
from data_prep.brain_phantom import BrainOptions, main, write_brains
from data_prep.errors import OptionError

nib = pytest.importorskip("nibabel")
SIZE = (32, 40, 32)
STILL = places_mm(SIZE, np.zeros(3), np.zeros(3))


def person(seed: int = 0, label: int = 0) -> Person:
    return sample_person(np.random.default_rng(seed), label, SIZE)


def shares(severity: float, seed: int = 0) -> dict[str, np.ndarray]:
    return tissues(person(seed), STILL, severity, 5.0)


def test_disease_changes_what_it_should() -> None:
    well, ill = ({name: float(share.sum()) for name, share in shares(severity).items()} for severity in (0.0, 1.0))
    assert ill["ventricle"] > 1.3 * well["ventricle"] and ill["horn"] > well["horn"]
    assert ill["hippocampus"] < 0.9 * well["hippocampus"]
    assert ill["grey"] - ill["white"] < 0.95 * (well["grey"] - well["white"]), "cortex is thinner"
    assert ill["brain"] == well["brain"] and ill["deep"] == well["deep"]


def test_person_and_scanner_change_more_than_the_disease() -> None:
    machines = [sample_scanner(np.random.default_rng(seed), str(seed)) for seed in range(4)]

    def image(severity: float, seed: int = 0, machine: int = 0) -> np.ndarray:
        shown = render(shares(severity, seed), machines[machine], np.random.default_rng(9)).astype(float)
        return shown / np.percentile(shown, 99)

    def distance(other: np.ndarray) -> float:
        return float(((image(0.0) - other) ** 2).mean())

    disease = distance(image(1.0))
    assert min(distance(image(0.0, seed)) for seed in range(1, 5)) > 5 * disease
    assert np.mean([distance(image(0.0, 0, machine)) for machine in range(1, 4)]) > disease > 0


def test_severity_of_the_classes_overlaps_little() -> None:
    severities = np.array([[person(seed, label).severity for seed in range(30)] for label in (0, 1)])
    np.testing.assert_allclose(severities.mean(axis=1), (0, 1), atol=0.15)
    assert 0.1 < severities.std() < 1


def test_places_are_turned_and_shifted_rigidly() -> None:
    moved = places_mm(SIZE, np.array([0.1, -0.2, 0.3]), np.array([1.0, 2.0, 3.0]))
    step = np.linalg.norm(moved[:, 1:] - moved[:, :-1], axis=0)
    np.testing.assert_allclose(step, 160 / 32)
    np.testing.assert_allclose(STILL[:, ::-1, ::-1, ::-1], -STILL, atol=1e-9)


def test_files_and_table(tmp_path: Path) -> None:
    rows = write_brains(tmp_path / "set", BrainOptions(subjects=10, visits=2, size=SIZE))
    listed = list(csv.DictReader((tmp_path / "set/volumes.csv").open()))
    assert [row["image"] for row in listed] == [row["image"] for row in rows] and len(rows) == 20
    assert {row["split"] for row in listed if row["subject"] in ("sub-008", "sub-009")} == {"test"}
    assert sum(row["split"] == "test" for row in listed) == 4
    assert [row["label"] for row in listed[:4]] == ["control", "control", "patient", "patient"]
    assert len({row["scanner"] for row in listed}) == 3
    image = nib.load(tmp_path / "set" / listed[0]["image"])
    assert image.shape == SIZE and nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.header.get_zooms(), (5, 4.8, 5), rtol=1e-5)
    voxels = np.asarray(image.dataobj)
    assert voxels.dtype == np.int16 and voxels[0].max() == 0 and 0.2 < (voxels > 0).mean() < 0.6
    volumes = {
        name: np.mean([float(r["ventricle_ml"]) for r in listed if r["label"] == name])
        for name in ("control", "patient")
    }
    assert volumes["patient"] > 1.2 * volumes["control"]


def test_visits_share_the_person_and_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    options = BrainOptions(subjects=2, visits=2, size=SIZE)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_brains(tmp_path / name, options, seed)
    bytes_ = {name: (tmp_path / name / "images/sub-001_ses-2.nii.gz").read_bytes() for name in "abc"}
    assert bytes_["a"] == bytes_["b"] != bytes_["c"]
    brain = [float(row["brain_ml"]) for row in csv.DictReader((tmp_path / "a/volumes.csv").open())]
    assert abs(brain[0] - brain[1]) < 0.02 * brain[0] < abs(brain[0] - brain[2])


def test_without_effect_the_classes_are_alike(tmp_path: Path) -> None:
    rows = write_brains(tmp_path / "set", BrainOptions(subjects=4, visits=1, size=SIZE, effect=0.0))
    assert {float(row["severity"]) for row in rows} == {0.0}


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "set"), "--subjects", "2", "--visits", "1", "--size", "16", "16", "16"]
    assert main(arguments) == 0
    assert "2 volumes of 2 subjects: 1 control, 1 patient" in capsys.readouterr().out
    assert main(arguments) == 2 and "is not empty; name a new folder" in capsys.readouterr().err
    assert main([str(tmp_path / "new"), "--subjects", "1"]) == 2
    assert "expected 2 subjects or more" in capsys.readouterr().err


def test_absent_nibabel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(OptionError, match=r"need nibabel.*pip install 'medkit\[volumes\]'"):
        write_brains(tmp_path / "set")
