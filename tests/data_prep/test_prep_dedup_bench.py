import sys

import pytest

from data_prep import bench, measure_duplicates
from data_prep.bench_ways import random_hashes, sector_frame
from data_prep.errors import DataPrepError
from data_prep.measure_duplicates import known_pairs
from data_prep.search import near_pairs


def test_the_bench_prints_its_tables(tmp_path, capsys):
    files = bench.write_frames(tmp_path, 2)
    bench.bench_hashing(files, 1)
    bench.bench_search([300], [6], 1, most=0)
    bench.bench_crowd(400, 100)
    bench.bench_whole(200)
    text = capsys.readouterr().out
    assert "| imagehash.phash, whole frame |" in text
    assert "| near_pairs |" in text
    assert "100 of them equal" in text
    assert "200 made-up frames" in text
    assert "| phash, whole frame, equal to the bit |" in text
    assert "0.00 bits off, at most 0" in text


def test_frames_and_hashes_of_the_bench_are_seeded():
    assert (sector_frame(3) == sector_frame(3)).all()
    assert len(near_pairs(random_hashes(2000), 6)) == 200


def test_known_clusters_become_pairs_and_a_table(tmp_path, capsys, monkeypatch):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        bench.cv2.imwrite(str(tmp_path / f"{name}.png"), sector_frame(seed, 320, 240) + (name == "b"))
    known = tmp_path / "known.csv"
    known.write_text("image,cluster\na.jpeg,x\nb.jpeg,x\nc.jpeg,y\n")
    assert known_pairs(known, ("image", "cluster"), clusters=True) == {frozenset("ab")}
    command = ["x", str(tmp_path), "--clusters", str(known), "--distances", "12", "--jobs", "1", "--invariant", "both"]
    monkeypatch.setattr(sys, "argv", command)
    assert measure_duplicates.main() == 0
    text = capsys.readouterr().out
    assert "3 images, 0 flat, 0 not readable, 1 known pairs" in text
    assert "| no | 12 | 0.88 | 1 | 1.000 | 1.000 | 1 | 2 | 1.000 | 1.000 |" in text
    with pytest.raises(DataPrepError, match="no column a; expected a and b"):
        known_pairs(known, ("a", "b"), clusters=False)
