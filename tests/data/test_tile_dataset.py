"""Pairs of tile images: what a sample holds, balance over ranks and batches, seeding, what is refused."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.slide_phantom import SlideOptions, write_slides
from medkit.data import tile_dataset
from medkit.data.tile_dataset import TilePairs
from medkit.engine.seeding import seed_everything
from medkit.errors import DatasetError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wide slides and a small one for training, one for testing, some forty tiles each."""
    out = tmp_path_factory.mktemp("slides") / "set"
    write_slides(out, train_slides=3, test_slides=1, small_slides=1, options=SlideOptions(pitch_mm=1.8))
    return out


def pairs_of(dataset: TilePairs, *key: int) -> list[tuple]:
    seed_everything(*key)
    return [tuple(dataset[i]["img_path"]) for i in range(8)]


def test_sample(root: Path) -> None:
    dataset = TilePairs("train.csv", data_root=str(root), pairs_per_epoch=10)
    assert len(dataset) == 10 and len(TilePairs("train.csv", data_root=str(root), indices=4)) == 4
    sample = dataset[0]
    assert set(sample) == {"img_path", "slide", "similar", "sample_idx"}  # no label
    assert all(Path(file).is_file() and sample["slide"] in file for file in sample["img_path"])
    assert dataset.miner.report.near_only == ("slide002",)


def test_near_and_far_alternate_on_each_rank(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_dataset, "get_world_size", lambda: 3)
    dataset = TilePairs("train.csv", data_root=str(root), pairs_per_epoch=24)
    for rank in range(3):
        assert [dataset[i]["similar"] for i in range(rank, 24, 3)] == [True, False] * 4


def test_pairs_follow_the_seed(root: Path) -> None:
    dataset = TilePairs("train.csv", data_root=str(root))
    assert pairs_of(dataset, 0, 1) == pairs_of(dataset, 0, 1) != pairs_of(dataset, 0, 2)


def test_loads_two_tiles(root: Path) -> None:
    import medkit.data.transforms  # noqa: F401  registers LoadMedicalImage

    pipeline = [
        dict(
            type="mmpretrain.ApplyToList",
            scatter_key="img_path",
            collate_keys=["img"],
            transforms=[dict(type="medkit.LoadMedicalImage"), dict(type="medkit.RandomQuarterTurn")],
        ),
        dict(type="mmpretrain.PackInputs", algorithm_keys=["similar"]),
    ]
    sample = TilePairs("train.csv", data_root=str(root), pipeline=pipeline)[1]
    assert [tuple(tile.shape) for tile in sample["inputs"]] == [(3, 64, 64)] * 2
    assert sample["data_samples"].similar is False


def copy(root: Path, folder: Path, change) -> Path:
    """The set without its tiles, ``change`` applied to each row of the training table."""
    folder.mkdir()
    shutil.copy(root / "test.csv", folder)
    (folder / "tiles").symlink_to(root / "tiles")
    rows = [change(row) for row in csv.DictReader((root / "train.csv").open())]
    with (folder / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.parametrize(
    "change, options, message",
    [
        (dict(slide="slide003"), {}, r"1 slides of .* are held out"),
        (dict(patient="patient003"), {}, r"1 patients of .* are held out"),
        (dict(mpp=""), {}, r"override mpp=0\.25"),
        (dict(file="tiles/none.png"), {}, "are not there"),
        ({}, dict(far_mm=90.0), "farther apart than 90"),
        ({}, dict(near_px=100.0), "both or neither"),
        (dict(tissue=0.2), dict(min_tissue=0.5), "lower min_tissue"),
    ],
)
def test_faults_are_named(root: Path, tmp_path: Path, change: dict, options: dict, message: str) -> None:
    folder = copy(root, tmp_path / "set", lambda row: row | change)
    with pytest.raises(DatasetError, match=message):
        TilePairs("train.csv", data_root=str(folder), **options)


def test_pixels_stand_in_for_millimetres(root: Path, tmp_path: Path) -> None:
    folder = copy(root, tmp_path / "set", lambda row: row | dict(mpp=""))
    dataset = TilePairs("train.csv", data_root=str(folder), near_px=8_500, far_px=40_000)
    pairs = dataset.miner.draw_many(100, True, np.random.default_rng(0))
    distance = np.linalg.norm(np.diff(dataset.tiles.centres_px()[pairs], axis=1)[:, 0], axis=1)
    assert distance.max() < 8_500


def test_tiles_with_little_tissue_are_left_out(root: Path) -> None:
    everything = TilePairs("train.csv", data_root=str(root))
    half = TilePairs("train.csv", data_root=str(root), min_tissue=0.9)
    assert 0 < len(half.tiles) < len(everything.tiles) and half.tiles.tissue.min() >= 0.9
