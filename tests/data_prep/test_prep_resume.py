"""An interrupted run goes on where it stopped and ends with the bytes of an uninterrupted one."""

import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_prep import stages
from data_prep.__main__ import main
from data_prep.errors import InterruptedRun, OptionError
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.progress import Usage
from data_prep.store import WorkFolder

from .conftest import sector
from .test_prep_pipeline import digests

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("short_page")


@pytest.fixture
def small(tiny, monkeypatch):
    """Export of 16 images, among them a cut one, a scale and a near-duplicate, in chunks of three."""
    monkeypatch.setattr(stages, "CHUNK", 3)
    tiny.fill(6)
    tiny.add("cut.png", data=b"\x89PNG")
    tiny.add("again.png", (sector(1000) * 0.95).astype(np.uint8), patient_id="P0")
    for number in range(2):
        scale = np.stack([sector(8 + number)] * 3, axis=2)
        scale[30:300, 440:446] = (250, 230, 30)
        tiny.add(f"scale{number}.jpg", scale)
    return tiny.save()


class Shuffled(Executor):
    """Does nothing until it is waited for, and then the tasks in a random order."""

    _max_workers = 3

    def __init__(self):
        self.tasks, self.most = [], 0

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.tasks.append((future, fn, args, kwargs))
        self.most = max(self.most, len(self.tasks))
        threading.Timer(0.01, self.do_one).start()
        return future

    def do_one(self):
        future, fn, args, kwargs = self.tasks.pop(random.randrange(len(self.tasks)))
        future.set_result(fn(*args, **kwargs))


def test_the_executor_cannot_be_seen_in_the_output(small, tmp_path):
    prepare(small, tmp_path / "one", Options(split=(0.5, 0.25, 0.25)))
    wanted = digests(tmp_path / "one")
    shuffled = Shuffled()
    with ThreadPoolExecutor(2) as threads:
        for name, jobs, executor in (("two", 2, None), ("threads", 1, threads), ("odd", 1, shuffled)):
            prepare(small, tmp_path / name, Options(split=(0.5, 0.25, 0.25), jobs=jobs), executor)
            assert digests(tmp_path / name) == wanted, name
    assert 2 <= shuffled.most <= 6, "tasks in flight"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export", "odd", "one", "threads", "two"]


DRIVER = """
import json, os, signal, sys
from pathlib import Path
import cv2
from data_prep import results, stages
from data_prep.images import write_whole
from data_prep.options import Options
from data_prep.pipeline import prepare
from tests.data_prep.test_prep_pipeline import digests

cv2.setNumThreads(1)
stages.CHUNK = 3
results.write_report = lambda folder, export: write_whole(folder / "report.html", b"page")
export, folder, first, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
options = Options(split=(0.5, 0.25, 0.25), overwrite=True)


def run(out, last):
    '''In a child: a run that is killed before its last-th change of the file system; returns its end.'''
    child = os.fork()
    if child:
        return os.WTERMSIG(status) if os.WIFSIGNALED(status := os.waitpid(child, 0)[1]) else -os.WEXITSTATUS(status)
    left = [last]

    def hook(event, arguments):
        if event in CHANGES and str(folder) in str(arguments[0]) and (event != "open" or "r" != arguments[1]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    prepare(export, out, options)
    os._exit(0)


assert run(folder / "whole", 0) == 0
wanted, kills, last, alive = digests(folder / "whole"), 0, first, False
while not alive:
    out = folder / "out"
    alive = run(out, last) == 0
    kills += not alive
    if not alive and last % 2:  # killed a second time
        kills += run(out, last // 2) == signal.SIGKILL
    assert run(out, 0) == 0, last
    assert digests(out) == wanted, f"killed before change {last}"
    assert sorted(path.name for path in folder.iterdir()) == ["out", "whole"], last
    last += step
print(kills)
"""


def kill_everywhere(export, folder, first, step):
    folder.mkdir()
    command = [sys.executable, "-c", DRIVER, str(export), str(folder), str(first), str(step)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


def test_killed_at_many_moments_and_resumed(small, tmp_path):
    assert kill_everywhere(small, tmp_path / "runs", 5, 37) >= 5


@pytest.mark.slow
def test_killed_at_every_moment_and_resumed(small, tmp_path):
    assert kill_everywhere(small, tmp_path / "runs", 1, 1) >= 100


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_the_command_is_killed_with_its_workers_and_goes_on(tiny, tmp_path):
    export, out = tiny.fill(40).save(), tmp_path / "out"
    command = [sys.executable, "-m", "data_prep", str(export), str(out), "--jobs", "2"]
    log = tmp_path / ".out.work" / "look.log"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        while not (log.exists() and log.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        workers = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives the run"
        time.sleep(0.02)
    done = subprocess.run(command, env=env, capture_output=True, text=True)  # the whole command, page and all
    assert done.returncode == 0 and "of 80 images are known from the interrupted run" in done.stderr
    assert main([str(export), str(tmp_path / "whole"), "--jobs", "1"]) == 0
    wanted = {file: digest for file, digest in digests(out).items() if file != "report.html"}  # short_page, here only
    assert wanted.items() < digests(tmp_path / "whole").items()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stopped(monkeypatch, stage, after=2):
    """Let a stage stop as if a worker had died, after some chunks."""
    seen, take = [], stage.take

    def taking(self, start, entry):
        seen.append(start)
        if len(seen) > after:
            raise InterruptedRun("stopped here")
        take(self, start, entry)

    monkeypatch.setattr(stage, "take", taking)


def test_finished_chunks_are_not_done_again(small, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    for stage in (stages.Look, stages.Write):
        with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
            stopped(patch, stage)
            prepare(small, out, Options())
    assert not out.exists()
    usage = Usage()
    prepare(small, out, Options(), usage=usage)
    assert usage.stages["look"][0] == 0 and 0 < usage.stages["write"][0] <= 9
    assert "look: 16 of 16 images are known from the interrupted run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda export: Options(seed=3), "(seed 0 -> 3)"),
        (lambda export: os.utime(export / "images/cut.png", (1, 1)) or Options(), "(other inputs)"),
        (lambda export: ((export / "images/new.png").write_bytes(b"") and None) or Options(), "(other inputs)"),
    ],
)
def test_work_that_does_not_fit_is_discarded_with_a_line(small, tmp_path, monkeypatch, capsys, change, line):
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        stopped(patch, stages.Write)
        prepare(small, out, Options())
    options = change(small)
    usage = Usage()
    prepare(small, out, options, usage=usage)
    error = capsys.readouterr().err
    assert f"does not fit {line} and is discarded" in error and usage.stages["look"][0] == 16 + ("new" in error)
    prepare(small, tmp_path / "whole", options)
    assert digests(out) == digests(tmp_path / "whole")


def test_other_workers_and_a_fitting_folder_go_together(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        stopped(patch, stages.Write)
        prepare(small, tmp_path / "out", Options())
    usage = Usage()
    with ThreadPoolExecutor(2) as threads:
        prepare(small, tmp_path / "out", Options(jobs=2, quiet=True), threads, usage)
    assert usage.stages["look"][0] == 0


def test_two_runs_do_not_share_a_folder(small, tmp_path, capsys):
    out = tmp_path / "out"
    other = WorkFolder(out)
    other.lock()
    assert main([str(small), str(out)]) == 2
    assert f"another run (process {os.getpid()} on " in capsys.readouterr().err
    assert other.path.exists()
    other.unlock()  # as when its process dies: the file stays, the lock does not
    prepare(small, out)
    assert not other.path.exists()


def test_a_refused_run_leaves_nothing_and_keeps_the_work_of_an_interrupted_one(small, tmp_path, monkeypatch):
    out = tmp_path / "deep/er/out"
    with pytest.raises(Exception, match="no image is left"):
        prepare(small, out, Options(min_size=5000))
    assert not (tmp_path / "deep").exists()
    prepare(small, out)
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        stopped(patch, stages.Write)
        prepare(small, out, Options(overwrite=True))
    with pytest.raises(OptionError, match="not empty"):
        prepare(small, out)
    usage = Usage()
    prepare(small, out, Options(overwrite=True), usage=usage)
    assert usage.stages["look"][0] == 0


def test_a_file_that_changed_in_the_work_folder_is_written_again(small, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        stopped(patch, stages.Write, 4)
        prepare(small, out)
    work = WorkFolder(out)
    files = sorted(path for path in work.result.rglob("*.*g") if path.is_file())
    files[0].write_bytes(b"cut")
    files[1].unlink()
    (work.result / "images/.left.part").touch()
    prepare(small, out)
    prepare(small, tmp_path / "whole")
    assert digests(out) == digests(tmp_path / "whole")
