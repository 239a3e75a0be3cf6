"""Real T1 volumes (OpenNeuro ds002748): the same head from two files, in two orientations and resolutions, is one."""

from pathlib import Path

import numpy as np
import pytest

from medkit.data.volume_dataset import VolumeDataset
from medkit.data.volume_read import read_volume
from medkit.data.volume_recipe import VolumeRecipe

pytest.importorskip("monai")
NAMES = dict(image="file", subject="participant_id", label="gender")


@pytest.fixture
def heads(shared_data: Path) -> Path:
    folder = shared_data / "brain_mri3d_ds002748"
    if not folder.is_dir():
        pytest.skip(f"ds002748 is not at {folder}")
    return folder


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["sub-21", "sub-53", "sub-56"])
def test_original_and_resampled_scans_agree(heads: Path, name: str) -> None:
    original = read_volume(heads / f"original/{name}_T1w.nii.gz")
    resampled = read_volume(heads / f"vol2mm/{name}_T1w_2mm.nii.gz")
    assert (original.stored, resampled.stored) == ("LAS", "RAS")
    recipe = VolumeRecipe((80, 96, 80), spacing=2.0)
    one, two = recipe(original), recipe(resampled)
    flipped = np.corrcoef(one[::-1].ravel(), two.ravel())[0, 1]
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > max(0.95, flipped + 0.03)


@pytest.mark.realdata
def test_all_scans_with_sex_as_the_label(heads: Path, tmp_path: Path) -> None:
    data = VolumeDataset(
        str(heads / "vol2mm"),
        table="../labels.csv",
        columns=NAMES,
        classes=("f", "m"),
        recipe=dict(crop="none"),
        divisor=16,
        num_classes=2,
        cache_dir=str(tmp_path),
    )
    assert len(data) == 72 == len(set(data.subjects)) and np.bincount(data.labels).tolist() == [53, 19]
    image = data[0]["inputs"]
    assert image.shape == (1, 80, 96, 80) and (image > 0.05).float().mean() > 0.2
