"""The parts below an interrupted run: log, thumbnails, tasks in flight."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data_prep.errors import InterruptedRun
from data_prep.store import Log, Thumbs
from data_prep.workers import Crew, crew, stream


def test_a_torn_or_rotten_log_loses_its_end_only(tmp_path):
    log = Log(tmp_path / "x.log")
    entries = [(number, "x" * number) for number in range(50)]
    for entry in entries:
        log.append(entry)
    whole = (tmp_path / "x.log").read_bytes()
    for cut in (*range(0, len(whole), 97), len(whole)):
        (tmp_path / "x.log").write_bytes(whole[:cut])
        again = Log(tmp_path / "x.log")
        found = list(again.read())
        assert found == entries[: len(found)]
        again.append("more")
        assert list(Log(tmp_path / "x.log").read()) == [*found, "more"]
    rotten = bytearray(whole)
    rotten[len(whole) // 2] ^= 1
    (tmp_path / "x.log").write_bytes(rotten)
    assert 10 < len(list(Log(tmp_path / "x.log").read())) < 50


def test_thumbnails_lie_on_the_disk(tmp_path):
    thumbs = Thumbs(tmp_path / "t", 10)
    thumbs.write(3, bytes([7]) * 4096 * 2)
    chosen = thumbs.select([4, 0])
    assert isinstance(chosen, np.memmap) and chosen.shape == (2, 64, 64)
    assert (chosen[0] == 7).all() and (chosen[1] == 0).all()
    assert thumbs.select([]).shape == (0, 64, 64)


def test_a_bounded_number_of_tasks_is_in_flight_and_a_failure_stops_them():
    made = []

    def chunks():
        for number in range(1000):
            made.append(number)
            yield number, (number,)

    with ThreadPoolExecutor(2) as pool, contextlib.closing(stream(Crew(pool, 4), abs, chunks())) as found:
        for _ in range(10):
            next(found)
        assert len(made) <= 10 + 2 * 4
    with crew() as here, pytest.raises(InterruptedRun, match="ZeroDivisionError"):
        list(stream(here, lambda value: 1 / value, [(0, (0,))]))
