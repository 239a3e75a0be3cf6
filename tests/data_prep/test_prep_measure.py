"""The phantom and BUSI through the whole command, against what is known of them."""

import pytest

from data_prep.__main__ import main
from data_prep.measure import Score, compare_pairs, compare_stages, read_rows
from data_prep.measure import main as measure
from data_prep.measure_overlays import compare_overlays
from data_prep.measure_whole import compare_whole
from data_prep.options import Options
from data_prep.phantom.__main__ import main as phantom
from data_prep.pipeline import prepare

EXACT = ("table", "decode", "boxes", "size")  # stages that must name every planted fault and nothing else
MARKS = {"colour_scale": 0.98, "caliper": 0.95, "burned_text": 0.9, "grey_bar": 0.9}


def check_floors(scores: list[Score]) -> None:
    """What a regression would break, for each stage."""
    by_name = {score.what: score for score in scores}
    for score in scores:
        if score.stage in EXACT:
            assert (score.recall, score.precision) == (1, 1), score
    no_box = by_name["lesion_unlabelled, no box left"]
    assert no_box.recall == 1 and no_box.precision >= 0.9, no_box  # a lesion may lie outside every view of a patient
    pairs = by_name["near_duplicate (pairs)"]
    assert pairs.reached and pairs.recall >= 0.95 and pairs.precision >= 0.98, pairs
    marks = by_name["colour_scale / caliper / burned_text / grey_bar"]
    assert marks.precision >= 0.95, marks
    for kind, floor in MARKS.items():
        assert by_name[kind].recall >= floor, by_name[kind]


def check_whole(export, out) -> None:
    whole = compare_whole(export, out)
    assert whole.inputs == whole.rows and not whole.odd
    assert whole.sound > 0.5 * whole.rows and len(whole.sound_dropped) <= 0.005 * whole.sound, whole.sound_dropped
    assert whole.boxes_right == whole.boxes > 0


@pytest.fixture(scope="module")
def phantom_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    assert phantom([str(folder / "export"), "--images", "240", "--seed", "3", "--jobs", "1", "--twins"]) == 0
    prepare(folder / "export", folder / "out", Options(quiet=True))
    return folder / "export", folder / "out"


def test_every_stage_finds_what_was_planted(phantom_run):
    check_floors(compare_stages(*phantom_run))


def test_every_input_has_its_row_and_every_kept_image_its_true_boxes(phantom_run):
    check_whole(*phantom_run)


def test_the_comparison_sees_a_report_that_errs(phantom_run, tmp_path, capsys):
    """Without the codes nothing is found; with too many, precision falls; a row that is gone is named."""
    export, out = phantom_run
    rows = (out / "report.csv").read_text().splitlines()
    spoilt = [line.replace("too_small", "huge") for line in rows[:-1]]
    spoilt[1:9] = [line.replace(",,,,,,,,", ",,no_file,,,,,,", 1) for line in spoilt[1:9]]
    (tmp_path / "report.csv").write_text("\n".join(spoilt) + "\n")
    (tmp_path / "duplicate_pairs.csv").write_text("a,b,hash_distance,correlation\nx,y,1,1.0\n")
    scores = {score.what: score for score in compare_stages(export, tmp_path)}
    assert scores["small_frame"].recall == 0 and scores["small_frame"].missed
    assert scores["near_duplicate (pairs)"].precision == 0
    assert rows[-1].split(",")[0] in compare_whole(export, tmp_path).odd
    assert measure_main(export, tmp_path / "nothing", capsys) == 2


def measure_main(export, out, capsys) -> int:
    code = measure([str(export), str(out)])
    assert "report.csv" in capsys.readouterr().err
    return code


def test_overlays_of_the_phantom(phantom_run):
    known, found, both, near = compare_overlays(*phantom_run).pixels["all"]
    assert known > 500 and both >= 0.95 * known and near >= 0.98 * found


@pytest.mark.slow
def test_5000_images(tmp_path):
    """The commands of docs/data_prep_report.md."""
    export, out = tmp_path / "PHANTOM", tmp_path / "OUT"
    assert phantom([str(export), "--images", "5000", "--seed", "5"]) == 0
    assert main([str(export), str(out), "--quiet"]) == 0
    assert measure([str(export), str(out)]) == 0
    check_floors(compare_stages(export, out))
    check_whole(export, out)


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
