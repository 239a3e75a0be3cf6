"""Tables of vectors: the readers, and columns that become numbers as fitted on the training rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from medkit.data.encoding import VectorEncoding, fit_encoding
from medkit.data.tabular import Table, make_table, read_table
from medkit.errors import ConfigError, DatasetError
from tests.vectors import write_plink

CSV = "patient_id,age,sex,code\nA,40,F,1\nB,NA,M,2\nC,60,,\nD,,,\n"


@pytest.fixture
def clinical(tmp_path: Path) -> Path:
    path = tmp_path / "clinical.csv"
    path.write_text(CSV)
    return path


def test_csv_columns_are_numbers_or_words(clinical: Path) -> None:
    table = read_table(clinical, categorical=["code"])
    assert table.keys == ("A", "B", "C", "D") and table.names == ("age",)
    np.testing.assert_array_equal(table.numbers[:, 0], [40, np.nan, 60, np.nan])
    assert {name: values.tolist() for name, values in table.words.items()} == {
        "sex": ["F", "M", "", ""],
        "code": ["1", "2", "", ""],
    }
    assert table.rows_with_values().tolist() == [True, True, True, False]
    assert read_table(clinical, columns=["code"]).numbers[:2, 0].tolist() == [1, 2]  # a number unless said otherwise


def test_parquet_is_read_as_csv(clinical: Path, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"patient_id": ["A", "B", "C", "D"], "age": [40.0, None, 60.0, None], "sex": ["F", "M", None, None]}
    pq.write_table(pa.table({**columns, "code": [1, 2, None, None]}), tmp_path / "clinical.parquet")
    ours, theirs = read_table(tmp_path / "clinical.parquet", categorical=["code"]), read_table(clinical)
    np.testing.assert_array_equal(ours.numbers[:, 0], theirs.numbers[:, 0])
    assert ours.words["sex"].tolist() == theirs.words["sex"].tolist()
    # whole numbers with gaps come as floats, and keep their names
    assert ours.words["code"].tolist() == ["1", "2", "", ""]
    few = read_table(tmp_path / "clinical.parquet", columns=["sex"])
    assert few.names == () and list(few.words) == ["sex"]


def test_plink_takes_every_nth_variant_of_each_autosome(tmp_path: Path) -> None:
    pytest.importorskip("bed_reader")
    calls = np.array([[0, 1, 2, 0, 1, 2], [2, np.nan, 0, 1, 2, 0], [1, 1, 2, 2, 0, 0]], np.float32)
    bed = write_plink(tmp_path / "small.bed", calls, ["1", "1", "1", "2", "2", "X"])
    table = read_table(bed, step=2)
    assert table.keys == ("p000", "p001", "p002") and table.names == ("rs0", "rs2", "rs3")
    np.testing.assert_array_equal(table.numbers, calls[:, [0, 2, 3]])
    np.testing.assert_array_equal(read_table(bed, columns=["rs5", "rs1"]).numbers, calls[:, [5, 1]])
    filled = fit_encoding(read_table(bed), range(3), fill="mode", standardise=False)(read_table(bed))
    assert filled[1, 1] == 1  # the mode of the column where the call is missing
    with pytest.raises(DatasetError, match=r"1 variants are not in .*first: rs9"):
        read_table(bed, columns=["rs9"])
    bed.with_suffix(".fam").unlink()
    with pytest.raises(DatasetError, match=r"small\.fam does not exist"):
        read_table(bed)


def test_encoding_is_that_of_the_training_rows_and_can_be_stored(clinical: Path) -> None:
    table = read_table(clinical, columns=["age", "sex"])
    encoding = fit_encoding(table, [0, 1, 2], {"sex": ("F", "M")})
    assert encoding.features == ("age", "sex=F", "sex=M")
    again = VectorEncoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again == encoding
    vectors = again(table)
    spread = np.std([40, 50, 60])
    np.testing.assert_allclose(vectors[:3, 0], np.array([-10, 0, 10]) / spread, rtol=1e-6)
    np.testing.assert_array_equal(vectors[:3, 1:], [[1, 0], [0, 1], [0, 0]])
    assert np.isnan(vectors[3]).all()  # nothing is known of D
    later = make_table({"patient_id": ["E"], "age": ["80"], "sex": ["X"]}, "later.csv", "patient_id")
    np.testing.assert_allclose(again(later), [[30 / spread, 0, 0]], rtol=1e-6)
    two = fit_encoding(table, [0, 2])  # B is held out: it must not shift the mean, nor add its sex
    assert two.features == ("age", "sex=F") and two.mean == (50,) and two.std == (10,)


def test_constant_columns_become_zero_and_say_so() -> None:
    content = {"patient_id": "ABC", "age": [50, 50, 50], "bmi": [20, 25, 30], "none": ["", "", ""]}
    table = make_table(content, "t.csv", "patient_id")
    encoding = fit_encoding(table, range(3))
    assert encoding.constant == ("age", "none")
    vectors = encoding(table)
    assert vectors.shape == (3, 3) and not vectors[:, [0, 2]].any() and np.isfinite(vectors).all()


@pytest.mark.parametrize("values", [dict(age=[50, 50]), dict(diagnosis=["benign", "benign"])])
def test_a_table_that_says_the_same_of_all_is_refused(values: dict) -> None:
    table = make_table({"patient_id": ["A", "B"], **values}, "t.csv", "patient_id")
    given = {"diagnosis": ("benign", "malignant")} if "diagnosis" in values else None
    with pytest.raises(DatasetError, match=r"t\.csv says the same of all 2 subjects"):
        fit_encoding(table, [0, 1], given)


def test_faults_are_named(clinical: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="no column 'id'; it has patient_id, age, sex, code"):
        read_table(clinical, key="id")
    with pytest.raises(DatasetError, match="no column 'bmi'"):
        read_table(clinical, columns=["bmi"])
    (tmp_path / "table.xls").write_text("")
    with pytest.raises(ConfigError, match=r"must end in \.csv, \.parquet or \.bed"):
        read_table(tmp_path / "table.xls")
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(DatasetError, match=r"bad\.parquet is no parquet file"):
        read_table(tmp_path / "bad.parquet")
    (tmp_path / "ragged.csv").write_text("patient_id,age\nA\n")
    with pytest.raises(DatasetError, match="line 2: not the 2 fields"):
        read_table(tmp_path / "ragged.csv")
    (tmp_path / "empty.csv").write_text("patient_id,age\n")
    with pytest.raises(DatasetError, match="0 rows and 1 columns"):
        read_table(tmp_path / "empty.csv")
    with pytest.raises(DatasetError, match=r"2 subjects stand in several rows of t\.csv \(first: 'A'\)"):
        Table("t.csv", ("A", "A", "B", "B"), (), np.zeros((4, 0), np.float32), {}).row_of()
    with pytest.raises(DatasetError, match=r"1 rows of t\.csv name no subject"):
        make_table({"id": ["A", None], "x": [1, 2]}, "t.csv", "id").row_of()
    with pytest.raises(DatasetError, match=r"column 'sex' of .* holds 'M', expected one of \('F',\)"):
        fit_encoding(read_table(clinical), range(3), {"sex": ("F",)})
    with pytest.raises(ConfigError, match="missing='median'"):
        fit_encoding(read_table(clinical), range(3), fill="median")
