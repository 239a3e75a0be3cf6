"""An index of cases: exact, the same however it came to be, whole on disk, and for one model's codes only."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from medkit.apis.case_index import CaseIndex
from medkit.apis.cases import Case, ModelFingerprint
from medkit.errors import ConfigError, DatasetError, WeightsError

MODEL = ModelFingerprint("ConvAutoencoder3D", "ab12", "80x96x80")


def some_codes(num: int, width: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, width)).astype(np.float32)


def some_cases(num: int, start: int = 0) -> list[Case]:
    """Three visits of each subject; labels by subject."""
    rows = range(start, start + num)
    return [Case(f"scan{i}", f"s{i // 3}", "AB"[i // 3 % 2], f"v{i % 3}", f"/x/{i}.nii") for i in rows]


def by_hand(codes, cases, query, subject, k, metric):
    """Names and distances, one pair at a time in longdouble."""
    pairs = []
    for code, case in zip(codes.astype(np.longdouble), cases, strict=True):
        if case.subject == subject:
            continue
        if metric == "l2":
            far = np.sqrt(((code - query) ** 2).sum())
        else:
            far = 1 - (code * query).sum() / np.sqrt((code**2).sum() * (query**2).sum())
        pairs.append((float(far), case.case_id))
    pairs.sort()
    return pairs[:k]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_query_finds_the_nearest_cases_of_other_subjects(metric: str) -> None:
    codes, cases, queries = some_codes(600), some_cases(600), some_codes(7, seed=1)
    subjects = ["s3", "s199", "stranger", "", "s0", "s1", "s2"]
    queries[0] = codes[10]  # its own subject's scan is at distance 0
    index = CaseIndex.build(codes, cases, MODEL, metric)
    found = index.query(queries, 8, fingerprint=MODEL, subjects=subjects)
    for row, query, subject in zip(found, queries.astype(np.longdouble), subjects, strict=True):
        wanted = by_hand(codes, cases, query, subject, 8, metric)
        assert [one.case.case_id for one in row] == [name for _, name in wanted]
        np.testing.assert_allclose([one.distance for one in row], [far for far, _ in wanted], rtol=0, atol=1e-12)
        assert all(one.case.subject != subject for one in row)
    assert found[0][0].distance > 0 and found[0][0].case.label in "AB" and found[0][0].case.visit[0] == "v"
    assert index.query(codes[10], 1, fingerprint=MODEL)[0][0].case == cases[10]  # nobody's subject: nothing left out


def test_few_cases_of_others_and_cases_without_subject() -> None:
    codes = some_codes(4)
    cases = [Case("a", "s"), Case("b", "s"), Case("c"), Case("d")]
    index = CaseIndex.build(codes, cases, MODEL)
    assert {one.case.case_id for one in index.query(codes[0], 9, fingerprint=MODEL, subjects=["s"])[0]} == {"c", "d"}
    assert len(index.query(codes[2], 9, fingerprint=MODEL, subjects=[""])[0]) == 4
    found = index.query(codes[[2, 0]], 9, fingerprint=MODEL, subjects=[cases[2], cases[0]])  # by case
    assert {one.case.case_id for one in found[0]} == {"a", "b", "d"} and len(found[1]) == 2
    assert index.of_subject("s") == ["a", "b"] and index.of_subject("") == []


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_adding_and_removing_give_what_building_anew_gives(metric: str) -> None:
    codes, cases = 100 + some_codes(90), some_cases(90)
    codes[60:] *= 30  # longer than all before: bounds and ties follow
    index = CaseIndex.build(codes[:60], cases[:60], MODEL, metric)
    index.add(codes[60:], cases[60:], MODEL)
    gone = {f"scan{i}" for i in (0, 17, 59, 60, 89)}
    index.remove(gone)
    left = [i for i, case in enumerate(cases) if case.case_id not in gone]
    fresh = CaseIndex.build(codes[left], [cases[i] for i in left], MODEL, metric)
    assert index.cases == fresh.cases and np.array_equal(index.codes, fresh.codes)
    subjects = [f"s{i % 30}" for i in range(50)]
    queries = 100 + some_codes(50, seed=2)
    for one, other in zip(*(i.search(queries, 20, fingerprint=MODEL, subjects=subjects) for i in (index, fresh)),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(index.code("scan61"), codes[61])
    index.add(codes[:1], cases[:1], MODEL)  # a removed case may come back, with its subject
    assert "scan0" in index and index.query(codes[0], 1, fingerprint=MODEL, subjects=["s0"])[0][0].case.subject != "s0"
    assert index.query(codes[0], 1, fingerprint=MODEL)[0][0].case.case_id == "scan0"


def test_adding_computes_nothing_of_what_is_there_again(monkeypatch) -> None:
    index = CaseIndex.build(some_codes(500), some_cases(500), MODEL)
    prepared = []
    prepare = index._neighbours._prepare
    monkeypatch.setattr(index._neighbours, "_prepare", lambda rows: prepared.append(len(rows)) or prepare(rows))
    index.add(some_codes(2, seed=3), some_cases(2, 500), MODEL)
    index.remove(["scan4"])
    assert prepared == [2] and len(index) == 501


def test_saved_and_read_again(tmp_path: Path) -> None:
    cases = [Case("ä/1.nii", "person 1", "Alzheimer's", "m12", "/data/ä/1.nii"), Case("b")]
    index = CaseIndex.build(some_codes(2), cases, MODEL, "cosine", {"config": "a.py", "img_size": 128})
    path = index.save(tmp_path / "deep" / "cases.idx")
    again = CaseIndex.load(path)
    assert again.cases == cases and again.fingerprint == MODEL and again.metric == "cosine"
    assert again.about == {"config": "a.py", "img_size": 128} and np.array_equal(again.codes, index.codes)
    assert list(path.parent.iterdir()) == [path]


def test_kill_while_saving_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = CaseIndex.build(some_codes(4), some_cases(4), MODEL).save(tmp_path / "i.npz")
    before = path.read_bytes()

    def dies(file, **_) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", dies)
    with pytest.raises(KeyboardInterrupt):
        CaseIndex.build(some_codes(9), some_cases(9), MODEL).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match=r"file/i.npz cannot be written"):
        CaseIndex.build(some_codes(4), some_cases(4), MODEL).save(tmp_path / "file" / "i.npz")


@pytest.mark.parametrize("fault", ["cut", "bit in the codes", "bit in the notes", "text", "empty", "other archive"])
def test_damaged_file_is_named(tmp_path: Path, fault: str) -> None:
    path = CaseIndex.build(some_codes(40), some_cases(40), MODEL).save(tmp_path / "cases.npz")
    data = bytearray(path.read_bytes())
    if fault == "cut":
        data = data[: len(data) // 2]
    elif fault.startswith("bit"):
        at = data.index(b'"scan7"') if "notes" in fault else 500
        data[at + 2] ^= 4
    elif fault == "other archive":
        np.savez(path, features=np.zeros(3))
        data = path.read_bytes()
    else:
        data = b"hello" if fault == "text" else b""
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"cases\.npz is damaged, or no index"):
        CaseIndex.load(path)


def test_missing_and_later_files_are_named(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(DatasetError, match=r"none\.npz does not exist; make it with"):
        CaseIndex.load(tmp_path / "none.npz")
    monkeypatch.setattr("medkit.apis.case_index_file._FORMAT", 2)
    path = CaseIndex.build(some_codes(4), some_cases(4), MODEL).save(tmp_path / "i.npz")
    monkeypatch.undo()
    with pytest.raises(DatasetError, match=r"i\.npz has format 2; this medkit reads 1"):
        CaseIndex.load(path)


@pytest.mark.parametrize("changed", ["model", "weights", "preprocessing"])
def test_other_models_codes_are_refused(changed: str) -> None:
    index = CaseIndex.build(some_codes(9), some_cases(9), MODEL)
    other = dataclasses.replace(MODEL, **{changed: "another"})
    with pytest.raises(WeightsError, match=f"the query was made with another model.*{changed} 'another', index"):
        index.query(some_codes(1), fingerprint=other)
    with pytest.raises(WeightsError, match="what is to be added was made with another model"):
        index.add(some_codes(1), some_cases(1, 9), other)
    assert len(index) == 9


def test_wrong_codes_and_cases_are_named_and_change_nothing() -> None:
    index = CaseIndex.build(some_codes(9), some_cases(9), MODEL)
    broken = some_codes(3)
    broken[1, 2] = np.inf
    with pytest.raises(DatasetError, match="codes of 8 numbers, but the index holds codes of 9"):
        index.query(some_codes(1, 8), fingerprint=MODEL)
    with pytest.raises(DatasetError, match="the code of 'scan10' holds NaN or infinity"):
        index.add(broken, some_cases(3, 9), MODEL)
    with pytest.raises(DatasetError, match="the code of row 1 holds NaN"):
        index.query(broken, fingerprint=MODEL)
    with pytest.raises(DatasetError, match=r"case 'scan8': the index holds it already"):
        index.add(some_codes(2), some_cases(2, 8), MODEL)
    with pytest.raises(DatasetError, match="2 codes for 3 cases"):
        index.add(some_codes(2), some_cases(3, 9), MODEL)
    with pytest.raises(DatasetError, match=r"case 'nobody' \(and 1 more\): not among the 9 cases"):
        index.remove(["scan1", "nobody", "none"])
    with pytest.raises(DatasetError, match="removing 9 cases would leave an empty index"):
        index.remove([f"scan{i}" for i in range(9)])
    with pytest.raises(DatasetError, match="1 subjects for 2 queries"):
        index.query(some_codes(2), fingerprint=MODEL, subjects=["s0"])
    assert len(index) == len(index.codes) == 9
    with pytest.raises(DatasetError, match="case 'scan1': it is given twice"):
        CaseIndex.build(some_codes(2), [Case("scan1"), Case("scan1")], MODEL)
    with pytest.raises(DatasetError, match=r"codes \(0, 9\)"):
        CaseIndex.build(some_codes(0), [], MODEL)
    with pytest.raises(ConfigError, match="metric='dot'"):
        CaseIndex.build(some_codes(2), some_cases(2), MODEL, "dot")
