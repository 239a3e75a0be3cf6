"""Banks of features: one augmentation for all tiles of a draw, another for each; made once, by seed and name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medkit.apis.bag_features import SlideTiles
from medkit.apis.feature_bank import BankSettings, augment_together, encode_draws, extract_banks
from medkit.apis.tile_encoders import TileEncoder
from medkit.data.bank_files import read_bank
from medkit.errors import ConfigError, DatasetError

SIDE = 32


class Colours(nn.Module):
    """Mean and deviation of each channel: (B, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1) * self.scale


def encoder() -> TileEncoder:
    return TileEncoder(Colours().eval(), "colours", "none", (127.5,) * 3, (127.5,) * 3)


def read(x: int, y: int) -> np.ndarray:
    """A tile that its place decides; x = 0 is always the same."""
    return np.random.default_rng((x, y if x else 0)).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)


def slide(name: str, fault: str = "") -> SlideTiles:
    @contextmanager
    def opened() -> Iterator:
        if fault:
            raise DatasetError(fault)
        yield read

    coords = np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(-1, 2) * SIDE
    return SlideTiles(name, coords, SIDE, 0.5, SIDE, opened)


def test_a_draw_has_one_augmentation_and_the_next_another() -> None:
    same = np.zeros((4, 3, 2), int)
    features = encode_draws(encoder(), read, same, key=(0, 1))
    assert features.shape == (4, 3, 6)
    np.testing.assert_allclose(features, np.repeat(features[:, :1], 3, axis=1), rtol=1e-5)
    assert len(np.unique(features[:, 0].round(4), axis=0)) == 4
    np.testing.assert_array_equal(encode_draws(encoder(), read, same, key=(0, 1)), features)
    assert not np.allclose(encode_draws(encoder(), read, same, key=(0, 2)), features)


def test_the_augmentation_keeps_size_and_range() -> None:
    tiles = torch.from_numpy(np.stack([read(1, y) for y in range(5)])).permute(0, 3, 1, 2)
    for seed in range(12):
        torch.manual_seed(seed)
        changed = augment_together(tiles)
        assert changed.shape == tiles.shape and changed.dtype == torch.float32
        assert changed.min() >= 0 and changed.max() <= 1.0 + 1e-6


def test_banks_are_made_once_whatever_the_order(tmp_path: Path) -> None:
    settings = BankSettings(draws=3, tiles=5)
    made = list(extract_banks([slide("a"), slide("b", fault="no such slide")], tmp_path / "one", encoder(), settings))
    assert [(each.slide_id, each.tiles, each.fault) for each in made] == [("a", 15, ""), ("b", 0, "no such slide")]
    torch.manual_seed(7)
    list(extract_banks([slide("b"), slide("a")], tmp_path / "two", encoder(), settings))
    first, again, other = (read_bank(tmp_path / name) for name in ("one/a.h5", "two/a.h5", "two/b.h5"))
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.coords, again.coords)
    assert first.features.dtype == np.float16 and first.augmented and first.side_px == SIDE
    assert not np.array_equal(first.coords, other.coords)
    resumed = extract_banks([slide("a"), slide("b")], tmp_path / "one", encoder(), settings)
    assert [each.slide_id for each in resumed] == ["b"]


def test_a_bank_made_otherwise_is_not_taken(tmp_path: Path) -> None:
    list(extract_banks([slide("a")], tmp_path, encoder(), BankSettings(draws=2, tiles=3)))
    for other in (BankSettings(draws=2, tiles=3, seed=1), BankSettings(draws=3, tiles=3)):
        with pytest.raises(DatasetError, match=r"a.h5 was made otherwise \(.*--overwrite"):
            list(extract_banks([slide("a")], tmp_path, encoder(), other))
        assert len(list(extract_banks([slide("a")], tmp_path, encoder(), other, overwrite=True))) == 1
    with pytest.raises(ConfigError, match="draws=0"):
        BankSettings(draws=0)
