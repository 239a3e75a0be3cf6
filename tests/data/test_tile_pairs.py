"""Tile tables and pairs: golden labels, what is drawn, from which slides, and what is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from medkit.data.tile_pairs import PairMiner, all_pairs, pair_kinds
from medkit.data.tile_table import TileTable, read_tiles
from medkit.errors import DatasetError


def grid(width: int, height: int, pitch: float = 0.9) -> np.ndarray:
    """Centres (N, 2) in mm."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2) * pitch


def table(xy: np.ndarray, side: float, mpp: tuple[float, float]) -> TileTable:
    count = len(xy)
    return TileTable(np.full(count, "s"), xy, np.full(count, side), np.full((count, 2), mpp), np.full(count, "p"))


def test_centres_and_labels_equal_golden(golden_dir: Path) -> None:
    with np.load(golden_dir / "pair_labels_mm.npz") as golden:
        tiles = table(golden["xy_level0_topleft"], float(golden["tile_size_level0"]), tuple(golden["mpp_xy"]))
        np.testing.assert_allclose(tiles.centres_mm(), golden["center_mm"], rtol=1e-10, atol=1e-10)
        near, far = pair_kinds(tiles.centres_mm(), 2.0, 10.0)
        np.testing.assert_array_equal(np.select([near, far], [0, 1], -1), golden["label"])
        assert far.any() and not (near | far).all()
    near, far = pair_kinds(np.array([[0.0, 0], [2, 0], [12, 0], [0.5, 0]]), 2.0, 10.0)
    assert np.argwhere(np.triu(near)).tolist() == [[0, 3], [1, 3]]  # not the pair at exactly 2 mm
    assert np.argwhere(np.triu(far)).tolist() == [[0, 2], [2, 3]]  # not the pair at exactly 10 mm


def test_pixels_need_not_be_square() -> None:
    tiles = table(np.array([[0.0, 0.0], [4000.0, 4000.0]]), 256.0, (0.25, 0.5))
    np.testing.assert_allclose(np.diff(tiles.centres_mm(), axis=0), [[1.0, 2.0]])
    np.testing.assert_allclose(tiles.sides_mm()[0], [0.064, 0.128])


@pytest.fixture(scope="module")
def two_slides() -> tuple[np.ndarray, np.ndarray]:
    """A large slide of 300 tiles and a smaller one of 216, both wider than 10 mm."""
    centres = [grid(20, 15), grid(18, 12)]
    return np.repeat(["a", "b"], [300, 216]), np.concatenate(centres)


def test_drawn_pairs_keep_the_limits(two_slides) -> None:
    slides, centres = two_slides
    miner, rng = PairMiner(slides, centres, 2.0, 10.0), np.random.default_rng(0)
    for similar in (True, False):
        pairs = miner.draw_many(2000, similar, rng)
        distance = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
        assert (distance < 2).all() if similar else (distance > 10).all()
        assert (slides[pairs[:, 0]] == slides[pairs[:, 1]]).all() and (pairs[:, 0] != pairs[:, 1]).all()
        assert abs(np.mean(slides[pairs[:, 0]] == "a") - 0.5) < 0.05  # by slide, not by tile (.58)


def test_partners_are_uniform(two_slides) -> None:
    slides, centres = two_slides
    miner, rng = PairMiner(slides[:300], centres[:300], 2.0, 10.0), np.random.default_rng(0)
    near, far = pair_kinds(centres[:300], 2.0, 10.0)
    middle, corner = 7 * 20 + 10, 0
    for anchor, kind, draw in ((middle, near, "near_pair"), (corner, far, "far_pair")):
        slide = miner._slides[0]
        slide.near_anchors = slide.far_anchors = np.array([anchor])
        seen = np.bincount([getattr(slide, draw)(rng)[1] for _ in range(4000)], minlength=300)
        assert set(np.flatnonzero(seen)) == set(np.flatnonzero(kind[anchor]))
        expected = 4000 / kind[anchor].sum()
        assert np.abs(seen[kind[anchor]] - expected).max() < 5 * expected**0.5


def test_small_slides_give_near_pairs_only_and_are_counted() -> None:
    slides = np.repeat(["big", "lone", "small"], [300, 1, 25])
    centres = np.concatenate([grid(20, 15), [[0, 0]], grid(5, 5)])
    miner, rng = PairMiner(slides, centres, 2.0, 10.0), np.random.default_rng(0)
    assert set(slides[miner.draw_many(200, False, rng)].ravel()) == {"big"}
    assert set(slides[miner.draw_many(200, True, rng)].ravel()) == {"big", "small"}
    assert miner.report.near_only == ("lone", "small") and miner.report.without_near == ("lone",)
    assert "2 slides give near pairs only (lone, small)" in str(miner.report)


def test_far_anchors_by_the_outline_are_those_by_all_tiles() -> None:
    rng = np.random.default_rng(1)
    cloud = rng.normal(0, 3, (700, 2))
    line = np.stack([np.linspace(0, 11, 700), np.linspace(0, 2, 700)], axis=1)
    for centres in (cloud, line):
        slide = PairMiner(np.zeros(700), centres, 2.0, 10.0)._slides[0]
        np.testing.assert_array_equal(slide.far_anchors, np.flatnonzero(pair_kinds(centres, 2, 10)[1].any(axis=1)))


def test_rare_far_partners_are_found() -> None:
    centres = np.concatenate([np.random.default_rng(0).normal(0, 0.1, (3000, 2)), [[10.5, 0]]])
    pairs = PairMiner(np.zeros(3001), centres, 2.0, 10.0).draw_many(50, False, np.random.default_rng(0))
    assert (pairs == 3000).any(axis=1).all()


def test_overlapping_partners_can_be_left_out() -> None:
    centres = grid(30, 30, pitch=0.05)  # tiles of 0.3 mm: of the nearest 64 all overlap
    sides = np.full((900, 2), 0.3)
    miner = PairMiner(np.zeros(900), centres, 0.4, 1.2, sides)
    pairs = miner.draw_many(300, True, np.random.default_rng(0))
    gap = np.abs(centres[pairs[:, 0]] - centres[pairs[:, 1]]).max(axis=1)
    assert gap.min() >= 0.3 - 1e-6
    with pytest.raises(DatasetError, match=r"nearer than 0\.2"):
        PairMiner(np.zeros(900), centres, 0.2, 1.2, sides)


def test_all_pairs_are_those_within_slides(two_slides) -> None:
    slides, centres = two_slides
    near, far = all_pairs(slides, centres, 2.0, 10.0)
    kinds = [pair_kinds(centres[slides == name], 2.0, 10.0) for name in ("a", "b")]
    assert [len(near), len(far)] == [sum(k[i].sum() // 2 for k in kinds) for i in (0, 1)]
    assert (slides[near[:, 0]] == slides[near[:, 1]]).all() and (near[:, 0] < near[:, 1]).all()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_csv_with_all_columns(tmp_path: Path) -> None:
    text = "slide,x,y,side,mpp_x,mpp_y,file,label,patient,tissue\ns1,10,20,256,0.25,0.26,a.png,fat,,0.7\n"
    tiles = read_tiles(write(tmp_path / "t.csv", text))
    np.testing.assert_allclose(tiles.centres_mm(), [[138 * 0.25e-3, 148 * 0.26e-3]])
    assert tiles.patients.tolist() == ["s1"] and tiles.labels.tolist() == ["fat"] and tiles.files.tolist() == ["a.png"]


@pytest.mark.parametrize(
    "columns, row, options, side",
    [
        ("downsample", "4", dict(tile_px=224), 896),
        ("level", "2", dict(tile_px=224, level_downsamples=(1, 4, 16)), 3584),
    ],
)
def test_side_from_the_level(tmp_path: Path, columns: str, row: str, options: dict, side: float) -> None:
    path = write(tmp_path / "t.csv", f"slide,x,y,mpp,{columns}\ns,0,0,0.25,{row}\n")
    assert read_tiles(path, **options).side.tolist() == [side]
    with pytest.raises(DatasetError, match="how large a tile is"):
        read_tiles(path)


def test_missing_mpp_names_the_override(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "slide,x,y,side,mpp\ns1,0,0,256,0.25\ns2,0,0,256,\n")
    with pytest.raises(DatasetError, match=r"1 slide.*s2.*mpp=\{'s2': 0.25\}"):
        read_tiles(path).centres_mm()
    tiles = read_tiles(path, mpp={"s2": (0.5, 0.6)})
    np.testing.assert_allclose(tiles.mpp, [[0.25, 0.25], [0.5, 0.6]])
    assert read_tiles(path).centres_px().tolist() == [[128, 128]] * 2  # pixels need no mpp
    with pytest.raises(DatasetError, match="does not have"):
        read_tiles(path, mpp={"s3": 0.5})


@pytest.mark.parametrize(
    "text, message",
    [
        ("slide,x,side\ns,0,1\n", "no column"),
        ("slide,x,y,side,mpp\n", "no tile"),
        ("slide,x,y,side,mpp\ns,0,zero,256,0.25\n", "line 2: y is 'zero'"),
        ("slide,x,y,side,mpp\ns,0,0,0,0.25\n", "side 0"),
    ],
)
def test_csv_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_tiles(write(tmp_path / "t.csv", text))


def test_clam_folder(tmp_path: Path) -> None:
    for name, downsample in (("s1", 4.0), ("s2", np.array([2.0, 2.0]))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["coords"] = np.array([[0, 0], [896, 0]])
            file["coords"].attrs.update(patch_size=224, downsample=downsample, patch_level=1)
    tiles = read_tiles(tmp_path, mpp=0.25, file_template="{slide}/{x}_{y}.png")
    assert tiles.side.tolist() == [896, 896, 448, 448] and tiles.files[1] == "s1/896_0.png"
    with pytest.raises(DatasetError, match="mpp"):
        read_tiles(tmp_path / "s1.h5").centres_mm()
    with h5py.File(tmp_path / "s3.h5", "w") as file:
        file["coords"] = np.zeros((1, 2))
    with pytest.raises(DatasetError, match="patch_size and downsample"):
        read_tiles(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        read_tiles(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="no CLAM coordinate file"):
        read_tiles(write(tmp_path / "bad.h5", "text"))
