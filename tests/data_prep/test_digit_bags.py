"""Bags of digits and of tiles: labels follow from the instances, and no instance is on two sides of a split."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.digit_bags import SIDE, DigitOptions, digit_bags
from data_prep.digit_bags import main as digits_main
from data_prep.errors import ExportError, OptionError
from data_prep.tile_bags import TileBagOptions, split_tiles, tile_bags
from data_prep.tile_bags import main as tiles_main

pytest.importorskip("sklearn")


def digits_of(features: np.ndarray) -> set[bytes]:
    return {row.astype(np.float32).tobytes() for row in features}


def test_a_bag_of_nines_is_positive_and_digits_are_of_one_split() -> None:
    bags = list(digit_bags(DigitOptions(train=60, val=20, test=40), seed=1))
    seen: dict[str, set[bytes]] = {"train": set(), "val": set(), "test": set()}
    for bag in bags:
        seen[bag.split] |= digits_of(bag.features)
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["val"] and not seen["val"] & seen["test"]
    for bag in bags:
        assert (bag.label == "positive") == bool(bag.instance_labels.any())
        assert bag.features.shape == (len(bag.instance_labels), 64)
        assert 0 <= bag.features.min() <= bag.features.max() <= 1
    sizes = [len(bag.features) for bag in bags]
    assert np.mean(sizes) == pytest.approx(10, abs=0.7) and np.std(sizes) == pytest.approx(2, abs=0.5)
    assert sum(bag.label == "positive" for bag in bags) == len(bags) / 2


def test_arrangement_of_digits_differs_in_places_alone() -> None:
    for bag in digit_bags(DigitOptions("arrangement", train=10, val=0, test=0), seed=2):
        assert bag.instance_labels.sum() == 8 and len(bag.features) == 100
        cells = bag.coords[bag.instance_labels > 0] // SIDE
        apart = np.abs(cells[:, None] - cells[None]).max(axis=2) + 99 * np.eye(8, dtype=int)
        assert (apart.min(axis=1) == 1).all() if bag.label == "together" else apart.min() >= 2


def test_bag_folders_are_read_by_training(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from medkit.data.bag_files import read_bag
    from medkit.data.bag_table import read_bag_table

    command = [str(tmp_path / "a"), "--task", "arrangement", "--train", "4", "--val", "2", "--test", "2"]
    assert digits_main(command) == 0
    assert "8 bags: train 2 scattered + 2 together" in capsys.readouterr().out
    table = read_bag_table(tmp_path / "a")
    assert table.classes == ("scattered", "together") and table.splits.tolist().count("train") == 4
    bag = read_bag(table.files[1])
    assert bag.side_px == SIDE and bag.coords.max() == 9 * SIDE and bag.instance_labels.sum() == 8
    first = Path(table.files[0]).read_bytes()
    assert digits_main(command) == 2 and "not empty" in capsys.readouterr().err
    assert digits_main([str(tmp_path / "b"), *command[1:]]) == 0
    assert (tmp_path / "b/features" / Path(table.files[0]).name).read_bytes() == first


def test_digit_faults_are_named() -> None:
    with pytest.raises(OptionError, match="no room"):
        list(digit_bags(DigitOptions("arrangement", across=3, nines=6)))
    with pytest.raises(OptionError, match="mean=80"):
        list(digit_bags(DigitOptions(mean=80)))


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Ten sources of each of three kinds, three copies of each."""
    root = tmp_path / "tiles"
    rows = ["image,label,source"]
    for k, kind in enumerate(("benign", "cancer", "other")):
        (root / kind).mkdir(parents=True)
        for n in range(30):
            cv2.imwrite(str(root / kind / f"{n}.png"), np.full((4, 4, 3), 50 * k + n, np.uint8))
            rows.append(f"{kind}/{n}.png,{kind},{kind}{n // 3}")
    (root / "tiles.csv").write_text("\n".join(rows))
    return root


def test_tiles_are_split_by_group_and_bagged_within_a_split(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "split"
    assert tiles_main(["split", str(tiles), str(out), "--group", "source"]) == 0
    rows = list(csv.DictReader((out / "labels.csv").open()))
    assert len(rows) == 90 and {row["label"] for row in rows} == {"0", "1", "2"}
    assert len({(row["patient"], row["split"]) for row in rows}) == 30
    assert all((out / "images" / row["image"]).read_bytes() == (tiles / row["image"]).read_bytes() for row in rows)
    features = tmp_path / "f.npy"
    np.save(features, np.arange(90, dtype=np.float32)[:, None])
    table = [f"{n},{out}/images/{row['image']},{row['patient']},{row['split']},0" for n, row in enumerate(rows)]
    features.with_suffix(".csv").write_text("\n".join(["row,image,patient,split,label", *table]))
    options = TileBagOptions("cancer", "benign", "other", train=8, val=0, test=8, size=7, most=2)
    for bag in tile_bags(features, options):
        of = [rows[int(value)] for value in bag.features[:, 0]]
        kinds = [Path(row["image"]).parent.name for row in of]
        assert {row["split"] for row in of} == {bag.split} and len(set(bag.features[:, 0])) == 7
        assert bag.instance_labels.tolist() == [kind == "cancer" for kind in kinds]
        assert 1 <= kinds.count("other") <= 2 and (1 <= kinds.count("cancer") <= 2) == (bag.label == "positive")
    with pytest.raises(ExportError, match="'lung' in train"):
        list(tile_bags(features, TileBagOptions("lung", "benign", size=7)))
    kinds = ["--positive", "a", "--background", "b"]
    assert tiles_main(["bags", str(tmp_path / "none.npy"), str(tmp_path / "b"), *kinds]) == 2


def test_bags_of_the_tiles_themselves(tiles: Path, tmp_path: Path) -> None:
    """The same bags as of features, as bags.csv and images.csv beside the tiles."""
    out = tmp_path / "split"
    kinds = ["--positive", "cancer", "--background", "benign", "--train", "8", "--val", "0", "--test", "8"]
    assert tiles_main(["images", str(out), *kinds]) == 2, "nothing there yet"
    assert tiles_main(["split", str(tiles), str(out), "--group", "source"]) == 0
    assert tiles_main(["images", str(out), *kinds, "--size", "7", "--most", "2"]) == 0
    bags = {row["slide_id"]: row for row in csv.DictReader((out / "bags.csv").open())}
    images = list(csv.DictReader((out / "images.csv").open()))
    split_of = {f"images/{row['image']}": row["split"] for row in csv.DictReader((out / "labels.csv").open())}
    assert len(bags) == 16 and len(images) == 16 * 7
    for name, bag in bags.items():
        own = [row for row in images if row["slide_id"] == name]
        assert {split_of[row["file"]] for row in own} == {bag["split"]}
        assert all((out / row["file"]).is_file() for row in own)
        assert all((row["label"] == "1") == ("/cancer/" in row["file"]) for row in own)
        assert any(row["label"] == "1" for row in own) == (bag["label"] == "positive")


def test_tile_faults_are_named(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="lacks the columns"):
        split_tiles(tiles, tmp_path / "x", "patient")
    text = (tiles / "tiles.csv").read_text()
    (tiles / "tiles.csv").write_text(text.replace("benign/0.png,benign,", "benign/0.png,cancer,"))
    with pytest.raises(ExportError, match="two kinds"):
        split_tiles(tiles, tmp_path / "x", "source")
    with pytest.raises(ExportError, match="0 csv files"):
        split_tiles(tmp_path, tmp_path / "x")
    with pytest.raises(OptionError, match="most=9"):
        list(tile_bags(tmp_path / "f.npy", TileBagOptions("a", "b", size=10, most=9)))
