"""Views of banks and bags: which tiles, where they lie, the same under a seed; faults name the file and the cure."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.data import FeatureBankDataset, SubjectSampler
from medkit.data.bag_files import Bag, write_bag
from medkit.data.bank_files import read_bank
from medkit.errors import ConfigError, DatasetError
from tests.bank_set import SIDE, write_banks


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_banks(tmp_path_factory.mktemp("banks"))


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    return write_banks(tmp_path, slides=4, banks=False)


def test_a_view_is_tiles_of_one_draw_where_they_lie(banks: Path) -> None:
    dataset = FeatureBankDataset(str(banks), num_tiles=20)
    stored = read_bank(banks / "banks" / "slide2.h5")
    seen = set()
    for view in (view for _ in range(10) for view in dataset[2]["inputs"]):
        draw, tile = view["feats"][:, 0].long(), view["feats"][:, 1].long()
        assert len(draw.unique()) == 1 and view["feats"].shape == (20, 6) and view["coords"].shape == (20, 2)
        np.testing.assert_array_equal(view["feats"], stored.features[draw, tile].astype(np.float32))
        np.testing.assert_array_equal(view["coords"] * SIDE, stored.coords[draw, tile])
        seen.add((int(draw[0]), *tile.tolist()))
    assert len(seen) == 20 and len({draw for draw, *_ in seen}) == 3, "each view is a new draw"


def test_views_follow_from_the_seed(banks: Path) -> None:
    def views(seed: int, **options) -> torch.Tensor:
        dataset = FeatureBankDataset(str(banks), **options)
        np.random.seed(seed)
        return torch.stack([view["feats"] for index in range(8) for view in dataset[index]["inputs"]])

    assert torch.equal(views(3), views(3, in_memory=False))
    assert not torch.equal(views(3), views(4))


def test_an_ordinary_bag_loses_channels_and_the_log_warns(bags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("medkit.data.feature_bank.print_log", lambda text, **_: said.append(text))
    dataset = FeatureBankDataset(str(bags), feature_dropout=0.5)
    assert "4 of 4 slides have features without shared augmentation" in said[-1]
    lost = [(view["feats"][:, 2:] == 0) for _ in range(30) for view in dataset[1]["inputs"]]  # (K, 4) each
    assert all(torch.equal(every, some) for every, some in ((x.all(0), x.any(0)) for x in lost)), "of all tiles alike"
    assert 0.3 < torch.cat(lost).float().mean() < 0.7
    dataset.feature_dropout = 0
    stored = read_bank(dataset.slides.files[1])
    view = dataset[1]["inputs"][0]
    np.testing.assert_array_equal(view["feats"], stored.features[0, view["feats"][:, 1].long()])


def test_patients_are_the_sampler_s_and_quick_mode_s_subjects(banks: Path) -> None:
    dataset = FeatureBankDataset(str(banks))
    assert len(dataset) == 8 and len(set(dataset.subjects)) == 7
    sampler = SubjectSampler(dataset, batch_size=7, seed=0)
    steps = np.array(list(sampler)).reshape(-1, 7)
    assert all(len({dataset.subjects[i] for i in step}) == 7 for step in steps)
    assert len(set(FeatureBankDataset(str(banks), indices=7).subjects)) == 7


def test_splits_and_tables(banks: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no slide of split 'val'"):
        FeatureBankDataset(str(banks), split="val")
    write_banks(tmp_path, slides=3)
    (tmp_path / "bags.csv").unlink()
    assert FeatureBankDataset(str(tmp_path)).subjects == ("slide0", "slide1", "slide2")
    (tmp_path / "bags.csv").write_text("slide_id,label\nslide0,\nslide9,1\n")
    with pytest.raises(DatasetError, match="banks has no file of the slide 'slide9'"):
        FeatureBankDataset(str(tmp_path), split=None)
    with pytest.raises(DatasetError, match="has no folder elsewhere"):
        FeatureBankDataset(str(tmp_path), folder="elsewhere")


def test_a_bag_without_positions_or_scale_is_refused(bags: Path) -> None:
    features = np.zeros((3, 6), np.float32)
    write_bag(bags / "features" / "slide1.h5", Bag(features, np.zeros((3, 2), np.int64)))
    with pytest.raises(DatasetError, match=r"slide1.h5 does not know the side of a tile.*aggregator=mlp"):
        FeatureBankDataset(str(bags))
    assert len(FeatureBankDataset(str(bags), side_px=100.0)) == 4
    write_bag(bags / "features" / "slide1.h5", Bag(features))
    with pytest.raises(DatasetError, match=r"slide1.h5 does not know positions"):
        FeatureBankDataset(str(bags))
    assert "coords" not in FeatureBankDataset(str(bags), with_coords=False)[1]["inputs"][0]
    write_bag(bags / "features" / "slide1.h5", Bag(features[:, :4]))
    with pytest.raises(DatasetError, match=r"different widths \(.*slide1.h5 4, .* 6\)"):
        FeatureBankDataset(str(bags), with_coords=False)


def test_another_width_than_the_model_s_is_refused(banks: Path) -> None:
    with pytest.raises(DatasetError, match=r"6 channels, the model expects 256; set features=6"):
        FeatureBankDataset(str(banks), width=256)


def test_a_broken_bank_names_its_fault(tmp_path: Path) -> None:
    import h5py

    write_banks(tmp_path, slides=3)
    path = tmp_path / "banks" / "slide1.h5"
    with h5py.File(path, "a") as file:
        file["features"][1, 2, 3] = np.nan
    with pytest.raises(DatasetError, match=r"slide1.h5: features are not finite"):
        read_bank(path)
    with h5py.File(path, "a") as file:
        del file["coords"].attrs["patch_size_level0"]
    with pytest.raises(DatasetError, match=r"slide1.h5: .*expected \(draws, tiles, channels\)"):
        read_bank(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DatasetError, match=r"slide1.h5 cannot be read"):
        read_bank(path)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ConfigError, match="num_tiles=0"):
        FeatureBankDataset(num_tiles=0)
