"""Synthetic whole slides: what OpenSlide reads, what the truth says, and what the arrangement must not give away."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import ExportError, OptionError
from data_prep.wsi_layout import full_cells, tissue_pieces, tumour_cells
from data_prep.wsi_phantom import MPP, WsiOptions, lay_out, plan, write_wsi
from data_prep.wsi_phantom import main as wsi_phantom
from data_prep.wsi_truth import SlideTruth, instance_labels, tumour_shares
from data_prep.wsi_truth import main as wsi_truth

SMALL = WsiOptions(size_um=400)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wsi") / "set"
    write_wsi(out, 4, seed=5, options=SMALL)
    return out


def grid(side: int, across: int) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(across) * side] * 2), axis=2).reshape(-1, 2)


def test_openslide_reads_size_and_pixel_size(written: Path) -> None:
    openslide = pytest.importorskip("openslide")
    for row in csv.DictReader((written / "labels.csv").open()):
        slide = openslide.OpenSlide(str(written / "slides" / f"{row['slide_id']}.tif"))
        truth = SlideTruth.read(written / "truth" / f"{row['slide_id']}.json")
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(truth.mpp, rel=1e-4) and truth.mpp in MPP
        assert slide.dimensions == (truth.width, truth.height) == (round(400 / truth.mpp),) * 2
        assert bool(truth.tumour) == (row["label"] == "tumour")
        corner = np.array(slide.read_region((0, 0), 0, (20, 20)).convert("RGB"))
        assert corner.min() > 200  # glass
        middle = truth.tumour[0].mean(axis=0) if truth.tumour else np.array(slide.dimensions) / 2
        tile = np.array(slide.read_region(tuple(int(v) - 40 for v in middle), 0, (80, 80)).convert("RGB"))
        assert tile.min() < 150 and tile.std() > 10  # tissue


def test_the_same_seed_draws_the_same_slide(written: Path, tmp_path: Path) -> None:
    write_wsi(tmp_path / "again", 2, seed=5, options=SMALL)
    for file in ("slides/slide001.tif", "truth/slide001.json"):
        assert (tmp_path / "again" / file).read_bytes() == (written / file).read_bytes()
    write_wsi(tmp_path / "other", 2, seed=6, options=SMALL)
    assert (tmp_path / "other/slides/slide001.tif").read_bytes() != (written / "slides/slide001.tif").read_bytes()


def test_cases_share_label_and_split_and_some_have_two_slides() -> None:
    places = plan(40, 0)
    assert len(places) == len({place.slide for place in places}) == 40
    facts = {place.case: {(p.label, p.split) for p in places if p.case == place.case} for place in places}
    assert all(len(found) == 1 for found in facts.values())
    assert set(Counter(place.case for place in places).values()) == {1, 2}
    for split in ("train", "val", "test"):
        assert {place.label for place in places if place.split == split} == {0, 1}
    assert abs(sum(place.label for place in places) - 20) <= 2


def test_tumour_is_a_small_part_of_the_tissue() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        kinds, tumour = lay_out(rng, 1, 0.5, WsiOptions(size_um=1000))
        assert 0.005 < tumour.sum() / (kinds >= 0).sum() < 0.15
        assert not tumour[kinds < 0].any()
    assert not lay_out(rng, 0, 0.5, WsiOptions(size_um=1000))[1].any()


@pytest.mark.parametrize("together", [False, True])
def test_arrangement_has_one_count_and_tells_nothing_else(together: bool) -> None:
    """On the tiler's grid as many tiles are tumour, none is an edge; only the neighbours differ."""
    side, mpp, count = round(112 / 0.46), 0.46, 12
    rng = np.random.default_rng(1)
    for _ in range(3):
        tissue = tissue_pieces(rng, 2000, 1)
        mask = tumour_cells(rng, tissue, side * mpp, count, together)
        assert mask is not None
        truth, coords = SlideTruth.of_mask(mask, mpp), grid(side, 17)
        labels = instance_labels(coords, side, truth)
        assert (labels == 1).sum() == count and not (labels == -1).any()
        cells = coords[labels == 1] // side
        apart = np.abs(cells[:, None] - cells[None]).max(axis=2) + 9 * np.eye(count, dtype=int)
        assert (apart.min(axis=1) == 1).all() if together else apart.min() >= 2


def test_full_cells_and_no_room() -> None:
    tissue = np.zeros((100, 100), bool)
    tissue[:, :50] = True
    assert full_cells(tissue, 25).tolist() == [[True, True, False, False]] * 4
    rng = np.random.default_rng(0)
    assert tumour_cells(rng, tissue, 25, 9, together=True) is None
    assert tumour_cells(rng, tissue, 25, 4, together=False) is None
    with pytest.raises(OptionError, match="no room"):
        lay_out(rng, 0, 0.5, WsiOptions("arrangement", size_um=300))


def test_shares_of_a_known_square() -> None:
    square = np.array([[100, 100], [300, 100], [300, 300], [100, 300]])
    truth = SlideTruth(1000, 1000, 0.5, (square,))
    coords = np.array([[100, 100], [200, 200], [0, 100], [290, 0], [600, 600], [-50, 900]])
    expected = [1, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(tumour_shares(coords, 100, truth), expected, atol=0.03)
    np.testing.assert_allclose(tumour_shares(np.array([[50, 100], [250, 250]]), 100, truth), [0.5, 0.25], atol=0.03)
    assert instance_labels(np.array([[110, 110], [250, 250], [700, 0]]), 100, truth).tolist() == [1, -1, 0]


def test_labels_are_written_into_h5(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    h5py = pytest.importorskip("h5py")
    truth = SlideTruth.read(written / "truth/slide001.json")
    coords = grid(40, truth.width // 40)
    path = tmp_path / "slide001.h5"
    with h5py.File(path, "w") as file:
        file["coords"] = coords
    command = [str(written / "truth"), str(tmp_path)]
    assert wsi_truth(command) == 2 and "patch_size" in capsys.readouterr().err
    with h5py.File(path, "r+") as file:
        file["coords"].attrs["patch_size_level0"] = 40
    assert wsi_truth(command) == wsi_truth(command) == 0  # twice is as once
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["instance_labels"], instance_labels(coords, 40, truth))
        assert (file["instance_labels"][()] == 1).any()
    assert wsi_truth([str(tmp_path), str(tmp_path)]) == 2 and "no truth" in capsys.readouterr().err
    assert wsi_truth([str(tmp_path), str(written)]) == 2 and "no h5" in capsys.readouterr().err


def test_faults_are_named(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert wsi_phantom([str(written)]) == 2 and "not empty" in capsys.readouterr().err
    with pytest.raises(OptionError, match="size_um=100"):
        write_wsi(tmp_path / "tiny", 4, options=WsiOptions(size_um=100))
    with pytest.raises(ExportError, match="no truth"):
        SlideTruth.read(tmp_path / "none.json")
