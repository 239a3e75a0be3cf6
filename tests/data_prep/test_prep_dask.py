"""The same stages on a Dask cluster: two worker processes of this machine."""

import sys

import pytest

from data_prep import stages
from data_prep.__main__ import main
from data_prep.errors import DataPrepError
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.progress import Usage

from .test_prep_pipeline import digests

pytestmark = pytest.mark.usefixtures("short_page")


def test_two_dask_workers_make_the_same_bytes(tiny, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(stages, "CHUNK", 2)
    export = tiny.fill().save()
    prepare(export, tmp_path / "here")
    usage = Usage()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        prepare(export, tmp_path / "dask", Options(scheduler=cluster.scheduler_address), usage=usage)
    assert len(usage.peaks) == 2, "both workers took part"
    assert digests(tmp_path / "dask") == digests(tmp_path / "here")


def test_a_scheduler_that_does_not_answer_is_one_line(tiny, tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed")
    monkeypatch.setattr("data_prep.workers.CONNECT_SECONDS", 0.5)
    assert main([str(tiny.fill().save()), str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    error = capsys.readouterr().err
    assert "--scheduler tcp://127.0.0.1:9: no Dask scheduler answers" in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export"]


def test_without_the_package_the_error_names_the_extra(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DataPrepError, match=r"pip install 'medkit\[dask\]'"):
        prepare(tiny.fill().save(), tmp_path / "out", Options(scheduler="tcp://127.0.0.1:9"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export"]
