"""Images with the vectors of their subjects: joins, missing vectors, faults, what a checkpoint keeps."""

import json
from pathlib import Path

import numpy as np
import pytest

from medkit.data import ImageVectors, paired
from medkit.errors import ConfigError, DatasetError
from tests.graded import write_graded
from tests.prepared import write_prepared

LABEL = dict(clinical=dict(categorical=dict(label=("0", "1", "2", "3", "4"))))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of 12 patients, p000 to p005 in train; tables know some of them."""
    root = write_graded(tmp_path_factory.mktemp("graded"), size=16, saliency=False)
    (root / "labs.csv").write_text("patient_id,hba1c\np000,5\np001,6\np002,7\np011,100\nnobody,100\n")
    (root / "scores.csv").write_text("patient_id,a,b\np002,1,2\np003,3,4\np004,,\n")
    return root


def read(root: Path, vectors: dict, **kwargs) -> ImageVectors:
    kwargs = dict(pipeline=[], serialize_data=False) | kwargs  # to pickle the samples takes a second
    return ImageVectors("labels.csv", data_root=str(root), vectors=vectors, **kwargs)


TWO = dict(labs=dict(file="labs.csv"), scores=dict(file="scores.csv"))


def known(data: ImageVectors) -> dict[str, set[str]]:
    """Modality -> subjects that have it."""
    samples = [data[i] for i in range(len(data))]
    return {
        name: {s["subject"] for s in samples if not np.isnan(s["vectors"][name]).any()} for name in data.vectors
    }


def test_outer_join_keeps_images_with_any_vector(graded: Path) -> None:
    data = read(graded, TWO)
    assert sorted(set(data.subjects)) == ["p000", "p001", "p002", "p003"] and len(data) == 8  # p004 is empty
    assert known(data) == {"labs": {"p000", "p001", "p002"}, "scores": {"p002", "p003"}}


def test_inner_join_keeps_images_with_all(graded: Path) -> None:
    data = read(graded, TWO, join="inner")
    assert data.subjects == ["p002", "p002"]
    assert known(data) == {"labs": {"p002"}, "scores": {"p002"}}


def test_scaling_comes_from_training_subjects_each_once_and_is_kept(graded: Path) -> None:
    data = read(graded, TWO)
    stored = json.loads(json.dumps(data.metainfo["vectors"]))
    assert stored["labs"]["mean"] == [6] and stored["labs"]["std"] == pytest.approx([np.std([5, 6, 7])])
    later = read(graded, dict(labs=TWO["labs"]), encoding={"labs": {**stored["labs"], "mean": [0], "std": [1]}})
    assert {float(later[i]["vectors"]["labs"][0]) for i in range(6)} == {5, 6, 7}


def test_only_training_rows_of_a_graded_folder_are_taken(graded: Path) -> None:
    data = read(graded, LABEL)
    assert len(data) == 12 and set(data.subjects) == {f"p{i:03d}" for i in range(6)}
    for i in range(12):  # image number n has label n % 5, see tests/graded.py
        patient, eye = Path(data[i]["img_path"]).stem.split("_")
        label = (2 * int(patient[1:]) + "LR".index(eye)) % 5
        assert data[i]["vectors"]["clinical"].tolist() == np.eye(5)[label].tolist()


def test_first_images_are_of_different_subjects(graded: Path) -> None:
    assert len(set(read(graded, LABEL, indices=6).subjects)) == 6
    few = read(graded, LABEL, indices=[11], serialize_data=True)
    assert few[0]["subject"] == read(graded, LABEL)[11]["subject"]
    np.testing.assert_array_equal(few[0]["vectors"]["clinical"], read(graded, LABEL)[11]["vectors"]["clinical"])


def test_columns_of_an_annotation_file(tmp_path: Path) -> None:
    root = write_prepared(tmp_path)
    file = root / "annotations/train.json"
    content = json.loads(file.read_text())
    for number, image in enumerate(content["images"]):
        image["age"] = [30, 40, 50, None, 40, 40][number]
    file.write_text(json.dumps(content))
    clinical = dict(columns=("age", "sex", "diagnosis"), categorical=["diagnosis"])
    data = ImageVectors(
        "annotations/train.json", data_root=str(root), vectors=dict(clinical=clinical), pipeline=[]
    )
    assert len(data) == 6 and data.subjects == [f"train{i}" for i in range(6)]
    encoding = data.metainfo["vectors"]["clinical"]
    assert encoding["words"] == {"sex": ("F",), "diagnosis": ("HCC", "cyst", "hemangioma", "metastasis")}
    assert encoding["constant"] == ("sex=F",)
    vectors = np.stack([data[i]["vectors"]["clinical"] for i in range(6)])
    assert vectors.shape == (6, 6) and vectors[3, 0] == pytest.approx(0, abs=1e-6) and vectors[2, 0] > 0


def test_a_folder_without_annotations_names_subjects_by_file(graded: Path) -> None:
    (graded / "files.csv").write_text("patient_id,x\np000_L,1\np000_R,2\n")
    data = ImageVectors(data_root=str(graded), vectors=dict(t=dict(file="files.csv")), pipeline=[], held_out=())
    assert data.subjects == ["p000_L", "p000_R"]


def test_counts_are_logged(graded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(paired, "print_log", lambda text, logger: lines.append(text))
    read(graded, TWO)
    text = "\n".join(lines)
    assert "labs': 1 features, fitted on 3 rows" in text and "2 rows belong to no image" in text
    assert "images with vectors (outer join): 8 of 12; 6 lack 'labs', 8 lack 'scores'" in text


def test_faults_are_named(graded: Path) -> None:
    (graded / "twice.csv").write_text("patient_id,x\np000,1\np000,2\np001,3\n")
    (graded / "strange.csv").write_text("patient_id,x\n1,1\n2,2\n")
    (graded / "same.csv").write_text("patient_id,x\np000,1\np001,1\n")
    (graded / "other.csv").write_text("patient_id,x\np000,1\np001,2\n")
    cases = [
        (dict(t=dict(file="twice.csv")), "1 subjects stand in several rows .*first: 'p000'"),
        (dict(t=dict(file="strange.csv")), "images have subjects such as 'p000', the table '1'"),
        (dict(t=dict(file="same.csv")), "says the same of all 2 subjects"),
        (dict(t=dict(file="none.csv")), r"none\.csv does not exist"),
        (dict(t=dict(columns=("age",))), "0 columns|no column 'age'"),
    ]
    for vectors, message in cases:
        with pytest.raises(DatasetError, match=message):
            read(graded, vectors)
    with pytest.raises(DatasetError, match="none of 12 images has all of the vectors a, b"):
        read(graded, dict(a=dict(file="scores.csv", columns=["a"]), b=dict(file="other.csv")), join="inner")
    with pytest.raises(DatasetError, match="has no column 'person'"):
        read(graded, LABEL, subject="person")
    with pytest.raises(ConfigError, match="join='left'"):
        read(graded, LABEL, join="left")
    with pytest.raises(ConfigError, match="vectors is empty"):
        read(graded, {})
    with pytest.raises(ConfigError, match="modality 't' has \\['path'\\]"):
        read(graded, dict(t=dict(path="labs.csv")))
    with pytest.raises(ConfigError, match="modality 't' has no file; give one"):
        read(graded, dict(t=dict(missing="mode")))
