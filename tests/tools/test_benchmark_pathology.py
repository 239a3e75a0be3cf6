"""The benchmark of tile descriptors and the stain statistics, run as commands on tiny phantom slides."""

import json
import runpy
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_prep.slide_phantom import SlideOptions, render_tile, sample_stain, write_slides
from data_prep.slide_phantom import main as slide_phantom
from medkit.apis.config import load_config
from medkit.apis.tile_descriptors import build_siamese, find_pairs, score, write_descriptors
from medkit.data.tile_table import read_tiles
from medkit.data.transforms.stain import read_statistics
from medkit.errors import ConfigError, DatasetError, WeightsError

REPO = Path(__file__).resolve().parents[2]
CONFIG = REPO / "configs/spatial_siamese_phantom.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("slides") / "set"
    write_slides(out, 1, 3, 0, seed=3, options=SlideOptions(pitch_mm=2.0))
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "epoch_1.pth"
    torch.save({"state_dict": build_siamese(load_config(CONFIG), None, seed=0).state_dict()}, path)
    return path


def call(tool: str, *words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [tool, *map(str, words)])
        runpy.run_path(str(REPO / "tools" / tool), run_name="__main__")


def test_none_scores_the_untrained_network_alone(root: Path, capsys: pytest.CaptureFixture) -> None:
    call("benchmark_pathology.py", CONFIG, "none", root / "test.csv")
    rows = capsys.readouterr().out
    assert "untrained, descriptor" in rows and "\ntrained" not in rows


def test_table_and_descriptors(root: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    call("benchmark_pathology.py", CONFIG, checkpoint, root / "test.csv", "--write", tmp_path / "h5")
    lines = capsys.readouterr().out.splitlines()
    head = next(index for index, line in enumerate(lines) if "ADDR" in line)
    rows = {line[:28].strip(): [float(word) for word in line[28:].split()] for line in lines[head + 1 : -1]}
    assert rows["trained, descriptor"] == rows["untrained, descriptor"]  # the checkpoint is what seed 0 begins with
    assert abs(rows["random numbers"][1] - 1) < 0.05 and rows["mean colour"][0] == 3
    tiles = read_tiles(root / "test.csv")
    written = sorted((tmp_path / "h5").glob("*.h5"))
    assert [path.stem for path in written] == sorted(set(tiles.slides.tolist()))
    with h5py.File(written[0]) as file:
        assert file["features"].shape == (np.sum(tiles.slides == written[0].stem), 128)
    back = read_tiles(tmp_path / "h5", mpp=0.25)
    np.testing.assert_array_equal(back.xy, tiles.xy)
    np.testing.assert_array_equal(back.side, tiles.side)


def test_wrong_checkpoint_label_and_config_are_named(root: Path, tmp_path: Path) -> None:
    tiles = read_tiles(root / "test.csv")
    pairs = find_pairs(tiles, 2.0, 10.0)
    noise = np.random.default_rng(0).normal(size=(len(tiles), 4))
    with pytest.raises(DatasetError, match=r"0 of .* tiles .*'mucosa'.*stroma"):
        score("noise", noise, tiles, pairs, "mucosa")
    with pytest.raises(DatasetError, match="collapsed"):
        score("flat", np.ones_like(noise), tiles, pairs, "tumour")
    with pytest.raises(ConfigError, match="test_pipeline"):
        build_siamese(load_config(REPO / "configs/simsiam_phantom.py"), None)
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit"):
        build_siamese(load_config(CONFIG), tmp_path / "other.pth")


def test_retrieval_knows_the_tissue_from_its_name(root: Path) -> None:
    tiles = read_tiles(root / "test.csv")
    codes = np.unique(tiles.labels, return_inverse=True)[1]
    found = score("labels", np.eye(4)[codes], tiles, find_pairs(tiles, 2.0, 10.0), "tumour")
    assert found.by_slide.fraction[1] == 1 and found.by_slide.mean_ap == 1 and found.by_patient is None
    assert found.addr.pooled > 1.3  # tissue comes in patches


def test_large_slides_are_sampled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medkit.apis import tile_descriptors

    tiles = read_tiles(root / "test.csv")
    exact = score("places", tiles.xy, tiles, find_pairs(tiles, 2.0, 10.0), None)
    monkeypatch.setattr(tile_descriptors, "EXACT_TILES", 10)
    pairs = find_pairs(tiles, 2.0, 10.0, count=500)
    assert not pairs.exact and pairs.near.shape == pairs.far.shape == (500, 2)
    assert score("places", tiles.xy, tiles, pairs, None).addr.pooled == pytest.approx(exact.addr.pooled, rel=0.1)


def test_npz(root: Path, tmp_path: Path) -> None:
    tiles = read_tiles(root / "test.csv")
    path = write_descriptors(tmp_path, tiles, np.zeros((len(tiles), 2)), "npz")[0]
    assert np.load(path)["coords"].shape[1] == 2


def test_stain_statistics(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    call("stain_statistics.py", root / "train.csv", root / "test.csv", "--out", tmp_path / "stains.json", "--tiles", 5)
    assert "4 slides" in capsys.readouterr().out
    found = read_statistics(tmp_path / "stains.json")
    assert len(found) == 4 and all(mean[0] < 90 and (std > 0).all() for mean, std in found.values())
    assert json.loads((tmp_path / "stains.json").read_text())["slide000"]["mean"] == found["slide000"][0].tolist()


def test_phantom_slides_follow_the_seed_and_colour_misleads(root: Path, tmp_path: Path) -> None:
    write_slides(tmp_path / "again", 1, 3, 0, seed=3, options=SlideOptions(pitch_mm=2.0))
    for name in ("train.csv", "test.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (root / name).read_bytes()
    file = read_tiles(root / "test.csv").files[0]
    assert (tmp_path / "again" / file).read_bytes() == (root / file).read_bytes()
    rng = np.random.default_rng(0)
    stain = sample_stain(rng)
    tiles = {kind: [render_tile(rng, kind, stain)[0] for _ in range(30)] for kind in ("stroma", "tumour")}
    brightness = np.array([[tile.mean() for tile in tiles[kind]] for kind in tiles])  # (2, 30)
    assert abs(np.diff(brightness.mean(axis=1))[0]) < brightness.std(axis=1).mean()  # the two overlap
    assert slide_phantom([str(root)]) == 2  # not empty
