"""Faults from outside: each is reported, the rest is done, and the same command tries again."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import pipeline, stages, tasks
from data_prep.__main__ import main
from data_prep.errors import InterruptedRun
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.progress import Display, Usage

from .conftest import sector
from .test_prep_pipeline import digests

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("short_page")


def named(out: Path) -> set[str]:
    """File names in all annotation files; each must be there."""
    sides = [json.loads(path.read_text()) for path in (out / "annotations").iterdir()]
    names = {image["file_name"] for side in sides for image in side["images"]}
    assert names == {path.relative_to(out / "images").as_posix() for path in (out / "images").rglob("*.*")}
    return names


def test_a_full_disk_costs_the_images_that_it_hit_and_the_same_command_gets_them(
    tiny, tmp_path, monkeypatch, report_of, capsys
):
    monkeypatch.setattr(stages, "CHUNK", 4)
    export, out = tiny.fill().save(), tmp_path / "out"
    write = tasks.write_image

    def full(job):
        if "good01" in job.target:
            Path(job.target).parent.mkdir(parents=True, exist_ok=True)
            Path(job.target).write_bytes(b"half")
            raise OSError(28, "No space left on device", job.target)
        return write(job)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "write_image", full)
        assert main([str(export), str(out), "--jobs", "1"]) == 3
    assert "2 images could not be written" in (error := capsys.readouterr().err) and "same command" in error
    row = report_of(out)["good01_0.png"]
    assert (row["status"], row["stage"], row["reason"], row["detail"]) == (
        "dropped",
        "write",
        "not_written",
        "No space left on device",
    )
    assert row["out_file"] == row["split"] == "" and len(named(out)) == 22
    assert "not_written 2" in (out / "summary.txt").read_text()
    usage = Usage()
    prepare(export, out, usage=usage)  # no --overwrite: the output is known to be incomplete
    assert usage.stages["look"][0] == 0 and usage.stages["write"][0] <= 8
    prepare(export, tmp_path / "whole")
    assert digests(out) == digests(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "out", "whole"]
    assert main([str(export), str(out), "--jobs", "1"]) == 2, "a complete output is not replaced"


LIMITED = """
import resource, sys
from data_prep.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def test_the_system_refuses_to_write_a_large_file(tiny, tmp_path, report_of):
    tiny.fill()
    noise = np.random.default_rng(0).integers(20, 255, (1600, 1700, 3), np.uint8)
    noise[100:900, 100:130] = (250, 230, 30)
    tiny.add("large.png", noise)
    export, out = tiny.save(), tmp_path / "out"
    command = [str(export), str(out), "--jobs", "2", "--quiet"]
    call = [sys.executable, "-c", LIMITED, "4000000", *command]
    done = subprocess.run(call, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 3 and "1 images could not be written" in done.stderr, done.stderr
    assert report_of(out)["large.png"]["detail"] == "File too large" and len(named(out)) == 24
    assert main(command) == 0 and len(named(out)) == 25


def test_a_disk_that_is_full_for_the_log_stops_the_run_with_one_line(tiny, tmp_path, capsys):
    export, out = tiny.fill().save(), tmp_path / "out"
    call = [sys.executable, "-c", LIMITED, "50000", str(export), str(out), "--jobs", "1"]
    done = subprocess.run(call, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 3 and not out.exists()
    assert done.stderr.startswith("data_prep: cannot read or write: ") and done.stderr.count("\n") == 1
    assert "File too large; the same command goes on" in done.stderr
    assert main([str(export), str(out), "--jobs", "1"]) == 0
    prepare(export, tmp_path / "whole")
    assert digests(out) == digests(tmp_path / "whole")


def test_an_image_that_vanishes_or_changes_after_the_look(tiny, tmp_path, monkeypatch, report_of):
    export, out = tiny.fill().save(), tmp_path / "out"
    assign = pipeline.assign_splits

    def meanwhile(*arguments):
        (export / "images/good03_0.png").unlink()
        (export / "images/good03_1.png").write_bytes((export / "images/good05_0.png").read_bytes())
        return assign(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "assign_splits", meanwhile)
        summary = prepare(export, out)
    rows = report_of(out)
    assert rows["good03_0.png"]["detail"] == "the file has vanished since it was looked at"
    assert rows["good03_1.png"]["detail"] == "the file has changed since it was looked at"
    assert {rows[f"good03_{n}.png"]["reason"] for n in range(2)} == {"not_written"} and len(named(out)) == 22
    assert next(row for row in summary["stages"] if row["stage"] == "write")["dropped"] == {"not_written": 2}
    prepare(export, out)  # other inputs now, but the same command: it may replace its incomplete output
    rows = report_of(out)
    assert rows["good03_0.png"]["reason"] == "no_file" and rows["good03_1.png"]["reason"] == "label_conflict"


def test_no_image_can_be_written(tiny, tmp_path, monkeypatch):
    def full(job):
        raise OSError(28, "No space left on device", job.target)

    with monkeypatch.context() as patch, pytest.raises(InterruptedRun, match=r"not one of 24 .* No space left"):
        patch.setattr(tasks, "write_image", full)
        prepare(tiny.fill().save(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepare(tiny.folder, tmp_path / "out")
    assert len(named(tmp_path / "out")) == 24


def test_a_killed_worker_is_one_line_and_the_same_command_goes_on(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stages, "CHUNK", 4)
    export, out = tiny.fill().save(), tmp_path / "out"
    take = stages.Look.take

    def killing(self, start, entry):
        take(self, start, entry)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(stages.Look, "take", killing)
        assert main([str(export), str(out), "--jobs", "2"]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is memory short? try a smaller --jobs; the same command goes on" in error
    assert not out.exists()
    assert main([str(export), str(out), "--jobs", "1", "--quiet"]) == 0
    assert "images are known from the interrupted run" in capsys.readouterr().err
    prepare(export, tmp_path / "whole")
    assert digests(out) == digests(tmp_path / "whole")


def test_ctrl_c_is_one_line(tiny, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages.Write, "take", stop)
        assert main([str(tiny.fill().save()), str(tmp_path / "out"), "--jobs", "2"]) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert main([str(tiny.folder), str(tmp_path / "out"), "--jobs", "1"]) == 0


def test_a_decoder_that_raises_anything_costs_one_image(tiny, tmp_path, monkeypatch, report_of):
    look = tasks.probe

    def broken(path, *rest):
        if path.endswith("good07_1.png"):
            raise MemoryError("cannot allocate\n3 GiB")
        return look(path, *rest)

    monkeypatch.setattr(tasks, "probe", broken)
    prepare(tiny.fill().save(), tmp_path / "out")
    row = report_of(tmp_path / "out")["good07_1.png"]
    assert (row["stage"], row["reason"]) == ("decode", "examination_failed")
    assert row["detail"] == "MemoryError: cannot allocate 3 GiB"


def test_an_unreadable_folder_is_reported_and_the_rest_is_done(tiny, tmp_path, monkeypatch, report_of):
    """Root may read everything, so the refusal is put into os.scandir."""
    tiny.fill()
    tiny.add("ward3/a.png", sector(70), patient_id="W")
    scandir = os.scandir

    def refusing(path="."):
        if str(path).rstrip("/").endswith("ward3"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    prepare(tiny.save(), tmp_path / "out", Options())
    rows = report_of(tmp_path / "out")
    assert len(named(tmp_path / "out")) == 24
    assert rows["ward3/a.png"]["status"] == "dropped"
    assert any(row["reason"] == "unreadable_folder" and row["file"].startswith("ward3") for row in rows.values())


def test_bars_are_for_terminals_only(monkeypatch, capsys):
    class Terminal:
        text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    for quiet, shown in ((False, True), (True, False)):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        with Display(quiet).bar("look", 80_000, 20_000) as bar:
            bar.update(32)
            bar.refresh()
        assert ("look:  25%" in terminal.text and "image/s" in terminal.text and "<" in terminal.text) == shown
    monkeypatch.undo()
    with Display().bar("look", 10, 0) as bar:
        bar.update(5)
    assert capsys.readouterr().err == ""
