"""Tables, archive trees and plain folders of volumes, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from medkit.data.volume_table import read_volumes
from medkit.errors import ConfigError, DatasetError
from tests.volume_set import write_table


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def table(root: Path, *rows: dict, name: str = "volumes.csv") -> Path:
    touch(root, *(row["image"] for row in rows if "image" in row))
    write_table(root, list(rows), name)
    return root


def row(image: str, subject: str, label: str, **more: str) -> dict:
    return {"image": image, "subject": subject, "label": label, **more}


def test_a_table_with_all_columns(tmp_path: Path) -> None:
    full = dict(visit="m12", scanner="GE", split="train")
    found = read_volumes(table(tmp_path, row("a.nii", "s1", "CN", **full), row("b.nii", "s2", "AD", **full)))
    assert found.classes == ("AD", "CN") and found.labels.tolist() == [1, 0] and found.labels.dtype == np.int64
    assert (found.subjects.tolist(), found.visits[0], found.scanners[0]) == (["s1", "s2"], "m12", "GE")
    assert found.splits.tolist() == ["train", "train"] and found.sample_ids() == ["a.nii", "b.nii"]
    assert str(found) == "2 volumes of 2 subjects (1 AD, 1 CN)"


def test_only_the_image_is_needed(tmp_path: Path) -> None:
    found = read_volumes(table(tmp_path, {"image": "a.nii"}, {"image": "b.nii"}))
    assert found.labels.tolist() == [-1, -1] and found.classes == () and len(set(found.subjects)) == 2


def test_foreign_columns_and_tab_separated(tmp_path: Path) -> None:
    touch(tmp_path, "vol/a.nii")
    (tmp_path / "p.tsv").write_text("participant_id\tgender\tfile\n01\tf\ta.nii\n")
    names = dict(image="file", subject="participant_id", label="gender")
    found = read_volumes(tmp_path / "vol", table="../p.tsv", columns=names)
    assert found.classes == ("f",) and found.subjects.tolist() == ["01"]
    with pytest.raises(DatasetError, match=r"no column for \['label'\]; it has participant_id, gender, file"):
        read_volumes(tmp_path / "vol", table="../p.tsv", columns=names | {"label": "sex"})
    with pytest.raises(ConfigError, match=r"columns names \['group'\]"):
        read_volumes(tmp_path / "vol", table="../p.tsv", columns={"group": "gender"})


def test_splits_by_subject_where_none_is_given(tmp_path: Path) -> None:
    rows = [row(f"{n}-{v}.nii", f"s{n}", "ab"[n % 2]) for n in range(20) for v in range(2)]
    found = read_volumes(table(tmp_path, *rows))
    sides = {side: set(found.subjects[found.splits == side]) for side in ("train", "test")}
    assert len(sides["test"]) == 4 and len(sides["train"]) == 16 and not sides["train"] & sides["test"]
    assert sorted(found.labels[found.splits == "test"]) == [0, 0, 0, 0, 1, 1, 1, 1]
    again = read_volumes(table(tmp_path, *reversed(rows)))
    assert set(again.subjects[again.splits == "test"]) == sides["test"]


def test_chosen_classes(tmp_path: Path) -> None:
    table(tmp_path, row("a.nii", "1", "CN"), row("b.nii", "2", "AD"), row("c.nii", "3", "MCI"))
    with pytest.raises(DatasetError, match="lacks the label 'MCI'"):
        read_volumes(tmp_path, classes=("CN", "AD"))
    assert read_volumes(tmp_path, classes=("CN", "AD"), others="drop").labels.tolist() == [0, 1]
    assert read_volumes(tmp_path, classes=("CN", "AD"), others="unlabelled").labels.tolist() == [0, 1, -1]
    with pytest.raises(DatasetError, match="no volume with the label 'PD': one of AD, CN, MCI"):
        read_volumes(tmp_path, classes=("CN", "PD"))
    with pytest.raises(ConfigError, match="others='keep'"):
        read_volumes(tmp_path, others="keep")


@pytest.mark.parametrize(
    "rows, words",
    [
        ([row("a.nii", "1", "CN"), row("b.nii", "1", "AD")], r"one label for the subject '1 \(AD, CN\)'.*allow_label"),
        ([row("a.nii", "1", "CN"), row("a.nii", "1", "CN")], "listed twice: '.*a.nii'"),
        ([row("a.nii", "1", "CN", split="train"), row("b.nii", "1", "CN", split="test")], "one split for the subject"),
        ([row("a.nii", "1", "CN", split="train"), row("b.nii", "2", "CN", split="")], "no split for the subject '2'"),
        ([row("a.nii", "1", "CN", split="dev")], "has the split 'dev': one of train, val, test"),
    ],
)
def test_faults_of_a_table(tmp_path: Path, rows: list[dict], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_volumes(table(tmp_path, *rows))


def test_converters_are_let_in_on_request(tmp_path: Path) -> None:
    table(tmp_path, row("a.nii", "1", "CN"), row("b.nii", "1", "AD"))
    assert read_volumes(tmp_path, allow_label_change=True).labels.tolist() == [1, 0]


def test_absent_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a folder"):
        read_volumes(tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"lists no volume; expected .nii"):
        read_volumes(tmp_path)
    write_table(tmp_path, [row("a.nii", "1", "CN")])
    with pytest.raises(DatasetError, match=r"no such file: '.*a.nii'"):
        read_volumes(tmp_path)
    with pytest.raises(DatasetError, match=r"other.csv does not exist"):
        read_volumes(tmp_path, table="other.csv")


def test_archive_tree(tmp_path: Path) -> None:
    series = "002_S_0295/MPRAGE/2011-06-02_07_56_36.0"
    touch(tmp_path, f"{series}/I240811/a.nii", f"{series}/I240812/1.dcm", f"{series}/I240812/2.dcm")
    (tmp_path / "search.csv").write_text(
        '"Image Data ID","Subject","Group","Sex","Visit"\n"I240811","002_S_0295","CN","M","v06"\n'
        '"I240812","002_S_0295","CN","M","v11"\n"I9","003_S_0001","AD","F","v06"\n'
    )
    found = read_volumes(tmp_path)
    assert [Path(file).name for file in found.files] == ["a.nii", "I240812"]
    assert found.classes == ("CN",) and found.visits.tolist() == ["v06", "v11"]
    assert set(found.subjects) == {"002_S_0295"}
    touch(tmp_path, f"{series}/I240811/b.nii")
    with pytest.raises(DatasetError, match="I240811 holds 2 volumes"):
        read_volumes(tmp_path)


def test_archive_csv_without_its_images(tmp_path: Path) -> None:
    (tmp_path / "search.csv").write_text("Image Data ID,Subject\nI1,002_S_0295\n")
    with pytest.raises(DatasetError, match="lists 1 images and none is below"):
        read_volumes(tmp_path)


def test_plain_folders(tmp_path: Path) -> None:
    touch(tmp_path, "bids/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "bids/.volume_cache/x.npy")
    found = read_volumes(tmp_path / "bids")
    assert (found.subjects.tolist(), found.visits.tolist(), found.classes) == (["sub-01"], ["2"], ())
    touch(tmp_path, "labelled/AD/1.nii", "labelled/CN/2.nii")
    assert read_volumes(tmp_path / "labelled").classes == ("AD", "CN")
