"""The phantom and BUSI through the whole command, against what is known of them."""

import json

import pytest

from data_prep.measure import compare_faults, compare_pairs, read_rows
from data_prep.measure_overlays import compare_overlays
from data_prep.options import Options
from data_prep.phantom.__main__ import main as phantom
from data_prep.pipeline import prepare


@pytest.fixture(scope="module")
def phantom_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    assert phantom([str(folder / "export"), "--images", "60", "--seed", "3", "--jobs", "1", "--twins"]) == 0
    prepare(folder / "export", folder / "out")
    return folder / "export", folder / "out"


def test_the_report_names_the_planted_faults(phantom_run):
    for kind, (planted, named, missed) in compare_faults(*phantom_run).items():
        assert named == planted or kind == "lesion_unlabelled", (kind, missed)


def test_near_duplicates_of_the_phantom(phantom_run):
    export, out = phantom_run
    truth = [row for row in read_rows(export / "truth.csv") if row["kind"] == "near_duplicate"]
    known, found, both = compare_pairs([(row["file"], json.loads(row["detail"])["of"]) for row in truth], out)
    assert known >= 2 and both == known and both >= 0.9 * found


def test_overlays_of_the_phantom(phantom_run):
    known, found, both, near = compare_overlays(*phantom_run).pixels["all"]
    assert known > 500 and both >= 0.95 * known and near >= 0.98 * found


@pytest.mark.realdata
def test_busi(shared_data, tmp_path, report_of):
    folder = shared_data / "us_breast_busi"
    prepare(folder, tmp_path / "out", Options(jobs=2))
    pairs = [(row["a"], row["b"]) for row in read_rows(folder / "near_duplicate_pairs.csv")]
    known, found, both = compare_pairs(pairs, tmp_path / "out")
    assert both >= 0.98 * known and found < 1.7 * known
    rows = report_of(tmp_path / "out")
    for file, partner in (("benign/benign (433)", "malignant/malignant (145)"),):
        row = rows[f"{file}.jpg"]
        assert row["reason"] == rows[f"{partner}.jpg"]["reason"] == "label_conflict"
        assert row["partner"] == f"{partner}.jpg"
    assert rows["normal/normal (1).jpg"]["diagnosis"] == "normal"
