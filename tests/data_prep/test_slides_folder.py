"""The bag folder: tiles of a physical size, a row for every slide, taken up again, what is refused before any work."""

import csv
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.errors import ExportError, OptionError, SlideError
from data_prep.slides.folder import COLUMNS, PixelSizes, find_slides, prepare_slides, read_slides
from data_prep.slides.tiles import Patches, Tiling, place_tiles, read_patches, write_patches
from tests.slide_set import write_slide

h5py = pytest.importorskip("h5py")
pytest.importorskip("openslide")
TILING = Tiling(mpp=2.0, tile=32)


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "slides.csv").open(newline="") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def run(source: Path, out: Path, tiling: Tiling = TILING, **how: object) -> dict[str, tuple[dict, bool]]:
    return {row["slide_id"]: (row, before) for row, before in prepare_slides(source, out, tiling, quiet=True, **how)}


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_tiles_lie_whole_on_the_slide_and_on_tissue(overlap: float) -> None:
    mask = np.random.default_rng(0).random((70, 90)) < np.linspace(0, 1, 90)
    coords = place_tiles((900, 700), 105, mask, Tiling(overlap=overlap, min_tissue=0.4))
    assert len(np.unique(coords, axis=0)) == len(coords) and coords.dtype == np.int64
    chosen, full = {tuple(corner) for corner in coords.tolist()}, np.kron(mask, np.ones((10, 10)))  # level 0
    step = 105 if overlap == 0 else 52
    corners = [(x, y) for y in range(0, 596, step) for x in range(0, 796, step)]
    assert chosen == {(x, y) for x, y in corners if full[y : y + 105, x : x + 105].mean() >= 0.4}


def test_a_tile_without_any_tissue_is_never_taken() -> None:
    mask = np.zeros((10, 10), bool)
    assert place_tiles((100, 100), 20, mask, Tiling(min_tissue=0)).shape == (0, 2)
    mask[0, 0] = True
    assert place_tiles((100, 100), 20, mask, Tiling(min_tissue=0)).tolist() == [[0, 0]]
    assert len(place_tiles((100, 100), 200, mask, Tiling())) == 0  # larger than the slide
    assert len(place_tiles((100, 100), 3, mask, Tiling())) == 9  # smaller than a pixel of the mask


def test_tiles_have_one_physical_size_on_all_slides(tmp_path: Path) -> None:
    for name, mpp in (("fine", 1.0), ("coarse", 2.0)):
        write_slide(tmp_path / f"in/{name}.tif", mpp)
    found = run(tmp_path / "in", tmp_path / "out")
    fine, coarse = (read_patches(tmp_path / f"out/patches/{name}.h5") for name in ("fine", "coarse"))
    assert (fine.side_px, coarse.side_px) == (64, 32) and fine.out_px == coarse.out_px == 32
    assert fine.side_px * fine.mpp == coarse.side_px * coarse.mpp == 64
    assert len(coarse.coords) == found["coarse"][0]["tiles"] > 3 * len(fine.coords) > 60  # four times the area
    with h5py.File(tmp_path / "out/patches/fine.h5") as file:
        attrs = dict(file["coords"].attrs)
    assert attrs["patch_size"] * attrs["downsample"] == 64 and attrs["patch_level"] == 0 and attrs["tile_mpp"] == 2
    assert attrs["level_dim"].tolist() == [900, 700] and attrs["name"] == "fine"


def test_patches_come_back_and_a_cut_file_is_named(tmp_path: Path) -> None:
    coords, labels = np.arange(6).reshape(3, 2), np.array([1, 0, -1], np.int8)
    write_patches(tmp_path / "a.h5", Patches(coords, 64, 0.5, 32, labels))
    found = read_patches(tmp_path / "a.h5")
    assert (found.side_px, found.mpp, found.out_px) == (64, 0.5, 32)
    assert np.array_equal(found.coords, coords) and np.array_equal(found.instance_labels, labels)
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:900])
    with pytest.raises(SlideError, match=r"a\.h5 is no file of patches"):
        read_patches(tmp_path / "a.h5")
    with pytest.raises(SlideError, match="no such file"):
        read_patches(tmp_path / "b.h5")


def test_a_slide_that_fails_has_a_row_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_slide(source / "good.tif", 1.0)
    write_slide(source / "deep/down/other.tif", 2.0)
    write_slide(source / "coarse.tif", 4.0)
    (source / "broken.svs").write_text("no slide")
    (source / "notes.txt").write_text("no slide either")
    words = ["slides", str(source), str(out), "--mpp", "2", "--tile", "32"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "good: 900 x 700 px of 1 um (resolution tag), 38." in printed
    assert "broken: FAILED: " in printed and printed.endswith("on 2 slides; 2 failed\n")
    rows = rows_of(out)
    assert list(rows["good"]) == list(COLUMNS) and sorted(rows) == ["broken", "coarse", "good", "other"]
    assert rows["good"]["status"] == "ok" and float(rows["good"]["tissue"]) == pytest.approx(np.pi * 0.35**2, abs=0.01)
    assert "coarser than the 2 um asked for" in rows["coarse"]["reason"] and rows["broken"]["tiles"] == "0"
    assert {row["slide_id"] for row in read_slides(out)} == {"good", "other"}
    for folder, ending in (("patches", "h5"), ("thumbnails", "jpg"), ("grids", "jpg")):
        assert sorted(path.name for path in (out / folder).iterdir()) == [f"good.{ending}", f"other.{ending}"]
    plain, grid = (cv2.imread(str(out / folder / "good.jpg")).astype(int) for folder in ("thumbnails", "grids"))
    assert plain.shape == grid.shape == (700, 900, 3)
    tile = read_patches(out / "patches/good.h5").coords[5]
    assert np.abs(grid[tile[1] + 10 : tile[1] + 50, tile[0] + 10 : tile[0] + 50] - plain[
        tile[1] + 10 : tile[1] + 50, tile[0] + 10 : tile[0] + 50]).mean() < 6  # fmt: skip
    assert grid[tile[1], tile[0] + 10 : tile[0] + 50].mean() < plain[tile[1], tile[0] + 10 : tile[0] + 50].mean() - 20


def test_a_second_run_makes_what_is_missing_or_changed(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c"):
        write_slide(source / f"{name}.tif", 1.0)
    run(source, out)
    before = {name: (out / f"patches/{name}.h5").stat().st_mtime_ns for name in "abc"}
    (out / "grids/b.jpg").unlink()
    write_slide(source / "c.tif", 2.0)
    again = run(source, out)
    assert {name: done for name, (_, done) in again.items()} == {"a": True, "b": False, "c": False}
    after = {name: (out / f"patches/{name}.h5").stat().st_mtime_ns for name in "abc"}
    assert after["a"] == before["a"] and after["c"] > before["c"] and (out / "grids/b.jpg").is_file()
    assert rows_of(out)["c"]["mpp"] == "2.0"
    given = run(source, out, sizes=PixelSizes({"a": 2.0}, otherwise=3.0))
    assert [given[name][1] for name in "abc"] == [False, True, True] and given["a"][0]["mpp_source"] == "given"
    source.rename(tmp_path / "moved")
    assert all(done for _, done in run(tmp_path / "moved", out, sizes=PixelSizes({"a": 2.0})).values())
    assert rows_of(out)["b"]["path"] == str(tmp_path / "moved/b.tif")


def test_a_slide_that_became_unreadable_leaves_no_old_tiles(tmp_path: Path) -> None:
    write_slide(tmp_path / "in/a.tif", 1.0)
    run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/a.tif").write_bytes(b"gone")
    assert run(tmp_path / "in", tmp_path / "out")["a"][0]["status"] == "failed"
    assert not (tmp_path / "out/patches/a.h5").exists()
    with pytest.raises(ExportError, match="no slide that was tiled"):
        read_slides(tmp_path / "out")


def test_other_settings_are_refused_or_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_slide(tmp_path / "in/a.tif", 1.0)
    words = ["slides", str(tmp_path / "in"), str(tmp_path / "out"), "--mpp", "2", "--quiet", "--tile"]
    assert main([*words, "32"]) == 0
    assert main([*words, "64"]) == 2
    assert "tile 32 -> 64" in capsys.readouterr().err
    assert main([*words, "64", "--overwrite"]) == 0
    assert read_patches(tmp_path / "out/patches/a.h5").out_px == 64
    assert json.loads((tmp_path / "out/slides.json").read_text())["settings"]["tile"] == 64
    (tmp_path / "out/slides.json").unlink()
    with pytest.raises(OptionError, match=r"no slides\.json"):
        run(tmp_path / "in", tmp_path / "out")


def test_pixel_sizes_that_a_person_gives(tmp_path: Path) -> None:
    write_slide(tmp_path / "in/said.tif", 1.0)
    write_slide(tmp_path / "in/silent.tif", 80.0)  # no scanner's: not believed
    out = tmp_path / "out"
    words = ["slides", str(tmp_path / "in"), str(out), "--mpp", "2", "--tile", "32", "--quiet"]
    assert main(words) == 1 and "--mpp-override" in rows_of(out)["silent"]["reason"]
    assert main([*words, "--mpp-override", "1.5"]) == 0  # only where the file says none
    assert [rows_of(out)[name]["mpp"] for name in ("said", "silent")] == ["1.0", "1.5"]
    (tmp_path / "sizes.csv").write_text("slide_id,mpp\nsaid,0.5\nelse,1\n")
    assert main([*words, "--mpp-override", str(tmp_path / "sizes.csv"), "silent=2"]) == 0
    assert [rows_of(out)[name]["mpp"] for name in ("said", "silent")] == ["0.5", "2.0"]


@pytest.mark.parametrize("word", ["0", "abc", "absent=1", "a=-1", "none.csv"])
def test_pixel_sizes_that_make_no_sense_are_refused(tmp_path: Path, word: str, capsys: pytest.CaptureFixture) -> None:
    write_slide(tmp_path / "in/a.tif", 1.0)
    assert main(["slides", str(tmp_path / "in"), str(tmp_path / "out"), "--mpp-override", word]) == 2
    assert word.split("=")[0] in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--tile", "0"), ("--overlap", "1"), ("--min-tissue", "2"), ("--jobs", "0")])
def test_options_out_of_range_are_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    write_slide(tmp_path / "in/a.tif", 1.0)
    assert main(["slides", str(tmp_path / "in"), str(tmp_path / "out"), *option]) == 2


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    write_slide(tmp_path / "in/a.tif")
    (tmp_path / "in/b").mkdir()
    (tmp_path / "in/b/a.svs").write_bytes(b"x")
    with pytest.raises(ExportError, match=r"one id 'a'.*a\.tif.*a\.svs"):
        find_slides(tmp_path / "in")
    write_slide(tmp_path / "one/s.tif")
    write_slide(tmp_path / "two/s.tif", seed=1)
    run(tmp_path / "one", tmp_path / "out")
    with pytest.raises(ExportError, match="one id 's'"):
        run(tmp_path / "two", tmp_path / "out")
    with pytest.raises(ExportError, match="no slide file"):
        find_slides(tmp_path / "out")


def test_settings_reach_worker_processes() -> None:
    job = (Path("a.tif"), TILING, PixelSizes({"a": 1.0}, 2.0))
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.realdata
def test_real_slides(shared_data: Path, tmp_path: Path) -> None:
    """Two slides, one of which states no pixel size, a broken one, and one that OpenSlide refuses (docs/slides.md)."""
    source = shared_data / "path_wsi_small"
    if not source.is_dir():
        pytest.skip(f"the small whole-slide set is not at {source}")
    rows = {name: row for name, (row, _) in run(source, tmp_path / "out", Tiling()).items()}
    assert rows["cmu-1-small-region"]["status"] == "ok" and 40 <= rows["cmu-1-small-region"]["tiles"] <= 50
    assert rows["broken"]["reason"].startswith("no slide that OpenSlide or tifffile can read")
    assert all("(mpp)" in rows[name]["reason"] for name in ("tcga-cr-7395-01a-01-ts1", "kidney-48-5"))
    sizes = PixelSizes({"tcga-cr-7395-01a-01-ts1": 0.5})
    again = run(source, tmp_path / "out", Tiling(), sizes=sizes)
    assert again["cmu-1-small-region"][1] and again["tcga-cr-7395-01a-01-ts1"][0]["tiles"] > 150
    plain = run(source / "tiff-images", tmp_path / "plain", Tiling(mpp=8, tile=16), sizes=PixelSizes(otherwise=8))
    assert plain["kidney-48-5"][0]["mpp_source"] == "given" and plain["kidney-48-5"][0]["tiles"] > 5
