"""BagDataset and the sampler that balances classes."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from medkit.data import BagDataset, ClassBalancedSampler
from medkit.data.bag_files import Bag, read_bag, write_bag
from medkit.errors import ConfigError, DatasetError
from tests.bag_set import TILE_PX, WIDTH, write_bags


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bags(tmp_path, cases=8)


def test_item(root: Path) -> None:
    dataset = BagDataset(str(root), split="train", in_channels=WIDTH, num_classes=2, needs_coords=True)
    item, bag = dataset[2], read_bag(root / "features/slide-001-0.h5")
    feats, coords, sample = item["inputs"]["feats"], item["inputs"]["coords"], item["data_samples"]
    assert feats.dtype == torch.float16 and (feats.numpy() == bag.features).all()
    assert coords.dtype == torch.float32 and (coords.numpy() == bag.coords).all()
    assert (sample.slide_id, sample.case_id, int(sample.gt_label)) == ("slide-001-0", "case-001", 1)
    assert (sample.instance_labels.numpy() == bag.instance_labels).all()
    assert len(dataset) == 8 and dataset.metainfo["classes"] == ("class0", "class1")
    tiles = BagDataset(str(root), split="train", coords_unit="tile")[2]["inputs"]["coords"]
    assert (tiles * TILE_PX == coords).all()


def test_without_cache_and_without_anything_but_features(root: Path) -> None:
    kept, read = BagDataset(str(root)), BagDataset(str(root), cache_mb=0)
    assert all(torch.equal(kept[i]["inputs"]["feats"], read[i]["inputs"]["feats"]) for i in range(16))
    for file in (root / "features").iterdir():
        write_bag(file, Bag(read_bag(file).features))
    item = BagDataset(str(root))[0]
    assert item["inputs"]["coords"] is None and "instance_labels" not in item["data_samples"]


def test_a_subset_is_drawn_anew_and_stays_together(root: Path) -> None:
    dataset = BagDataset(str(root), max_instances=3)
    whole = BagDataset(str(root))
    index = max(range(16), key=lambda i: len(whole[i]["inputs"]["feats"]))
    torch.manual_seed(0)
    draws = [dataset[index] for _ in range(4)]
    all_rows, all_coords = (whole[index]["inputs"][name] for name in ("feats", "coords"))
    places = []
    for one in draws:
        rows = [int((all_rows == row).all(dim=1).nonzero()) for row in one["inputs"]["feats"]]
        assert rows == sorted(rows) and len(set(rows)) == 3
        assert torch.equal(one["inputs"]["coords"], all_coords[rows])
        assert torch.equal(one["data_samples"].instance_labels, whole[index]["data_samples"].instance_labels[rows])
        places.append(tuple(rows))
    assert len(set(places)) > 1
    torch.manual_seed(0)
    assert torch.equal(dataset[index]["inputs"]["feats"], draws[0]["inputs"]["feats"])


def test_faults_before_training_all_at_once(root: Path) -> None:
    """Also those of slides of other splits."""
    test_slide, other = root / "features/slide-007-1.h5", root / "features/slide-006-0.h5"
    other.write_bytes(other.read_bytes()[:-700])
    with h5py.File(test_slide, "w") as file:
        file["features"] = np.ones((0, WIDTH))
    write_bag(root / "features/slide-005-0.h5", Bag(np.ones((4, WIDTH), np.float32)))
    with pytest.raises(DatasetError) as error:
        BagDataset(str(root), split="train", in_channels=99, needs_coords=True)
    said = ("slide-007-1.h5 holds no instance", "slide-006-0.h5 cannot be read: is it truncated", "in_channels=16")
    for text in (*said, "no coords for the features 'slide-005-0.h5'"):
        assert text in str(error.value)


def test_widths_that_differ(root: Path) -> None:
    write_bag(root / "features/slide-005-0.h5", Bag(np.ones((4, 9), np.float32)))
    with pytest.raises(DatasetError, match=r"differ in width: 9 \(slide-005-0.h5\), 16 \(slide-000-0.h5\)"):
        BagDataset(str(root), split="train")


def test_tile_units_need_the_side_of_a_tile(root: Path) -> None:
    bag = read_bag(root / "features/slide-005-0.h5")
    write_bag(root / "features/slide-005-0.h5", Bag(bag.features, bag.coords))
    with pytest.raises(DatasetError, match=r"how large a tile is: 'slide-005-0\.h5'"):
        BagDataset(str(root), needs_coords=True, coords_unit="tile")
    assert len(BagDataset(str(root), needs_coords=True)) == 16
    with pytest.raises(ConfigError, match="coords_unit='mm'"):
        BagDataset(str(root), coords_unit="mm")
    with pytest.raises(ConfigError, match="max_instances=0"):
        BagDataset(str(root), max_instances=0)


class Labelled(list):
    """Items with labels."""

    def __init__(self, labels: list[int]) -> None:
        super().__init__(labels)
        self.labels = labels


def drawn(labels: list[int], epoch: int = 0, world: tuple[int, int] = (0, 1)) -> list[int]:
    sampler = ClassBalancedSampler(Labelled(labels), seed=3)
    sampler.rank, sampler.world_size = world
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def test_classes_come_equally_often() -> None:
    labels = [0] * 40 + [1] * 7 + [2] * 3
    for epoch in range(5):
        assert sorted(Counter(labels[i] for i in drawn(labels, epoch)).values()) == [16, 17, 17]
    counts = Counter(drawn(labels))
    assert max(counts[i] for i in range(40, 47)) - min(counts[i] for i in range(40, 47)) <= 1
    first_epochs = [i for epoch in range(3) for i in drawn(labels, epoch) if i < 40]
    assert len(set(first_epochs)) == 40  # no slide of the frequent class is left out for long


def test_the_order_follows_from_the_epoch() -> None:
    labels = [0] * 9 + [1] * 4
    assert drawn(labels, 1) == drawn(labels, 1) != drawn(labels, 2)


def test_processes_share_an_epoch() -> None:
    labels = [0] * 10 + [1] * 5
    parts = [drawn(labels, 0, (rank, 2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == 8
    assert sorted(Counter(labels[i] for part in parts for i in part).values()) == [8, 8]


def test_a_set_without_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no labels"):
        ClassBalancedSampler(SimpleNamespace(), seed=0)
