"""Made-up tissue: the label is how kinds lie and nothing else, the folder is one that training reads."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import OptionError
from data_prep.tissue_bags import TissueOptions, main, tissue_slides, write_tissue
from medkit.data import BagDataset, FeatureBankDataset

SMALL = TissueOptions(train=4, test=2, across=12, draws=2)


def agreement(options: TissueOptions) -> dict[str, list[float]]:
    """Share of a tile's right-hand neighbours that are of its kind, by label."""
    found: dict[str, list[float]] = {"mixed": [], "patches": []}
    for slide in tissue_slides(options):
        cells = {tuple(cell): row for row, cell in enumerate((slide.bag.coords // 224).tolist())}
        pairs = [(row, cells[x + 1, y]) for (x, y), row in cells.items() if (x + 1, y) in cells]
        left, right = np.array(pairs).T
        apart = np.linalg.norm(slide.bag.features[left] - slide.bag.features[right], axis=1)
        found[slide.bag.label].append(float((apart < 2).mean()))
    return found


def test_label_is_how_kinds_lie() -> None:
    found = agreement(TissueOptions(train=12, test=0, noise=0.01))
    assert min(found["patches"]) > max(found["mixed"]), found


def test_slides_follow_from_the_seed_and_their_number() -> None:
    one, more = (list(tissue_slides(TissueOptions(train=count, test=1))) for count in (2, 3))
    np.testing.assert_array_equal(one[1].bank, more[1].bank)
    assert not np.array_equal(next(tissue_slides(SMALL, seed=1)).bag.features[0], one[0].bag.features[0])


def test_a_draw_of_the_bank_has_one_shift() -> None:
    slide = next(tissue_slides(TissueOptions(noise=0.0)))
    shifts = slide.bank - slide.bag.features  # (A, N, D)
    assert np.ptp(shifts, axis=1).max() < 1e-9 and np.ptp(shifts, axis=0).min() > 0


def test_training_reads_the_folder(tmp_path: Path) -> None:
    rows = write_tissue(tmp_path / "set", SMALL)
    assert [row["label"] for row in rows] == ["mixed", "patches"] * 3
    banks = FeatureBankDataset(str(tmp_path / "set"), width=32)
    assert len(banks) == 4 and banks.bank(0).augmented and banks.bank(0).features.shape[::2] == (2, 32)
    assert len(BagDataset(data_root=str(tmp_path / "set"), split="test")) == 2
    with pytest.raises(OptionError, match="not empty"):
        write_tissue(tmp_path / "set", SMALL)
    assert main([str(tmp_path / "none"), "--kinds", "1"]) == 2
    assert main([str(tmp_path / "new"), "--train", "2", "--test", "2", "--across", "8"]) == 0
