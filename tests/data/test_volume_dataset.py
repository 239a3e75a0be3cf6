"""Volumes are prepared once, as the recipe says, and faults name the file and the cure."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from medkit.data.volume_cache import VolumeCache
from medkit.data.volume_dataset import VolumeDataset
from medkit.data.volume_read import Volume
from medkit.data.volume_recipe import VolumeRecipe
from medkit.errors import ConfigError, DatasetError
from tests.volume_set import write_table, write_volume, write_volumes

pytest.importorskip("monai")
SIZE = (16, 32, 16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_volumes(tmp_path / "set", subjects=6, visits=2)


def make(root: Path, **options) -> VolumeDataset:
    return VolumeDataset(str(root), **({"target_size": SIZE, "cache_workers": 0} | options))


def box(inside: float = 100.0) -> Volume:
    """A box of 10 x 20 x 8 voxels of 2 mm in a volume of 40 x 40 x 40, brighter to the right, front and top."""
    array = np.zeros((40, 40, 40), np.float32)
    ramp = np.add.outer(np.add.outer(np.arange(10), np.arange(20)), np.arange(8))
    array[3:13, 12:32, 20:28] = inside + ramp
    return Volume(array, np.diag([2.0, 2, 2, 1]))


def test_crop_and_stretch_fill_the_target_with_the_brain() -> None:
    out = VolumeRecipe((20, 40, 16), margin=0)(box())
    assert out.shape == (20, 40, 16) and out.dtype == np.float32
    assert (out.min(), out.max()) == (0, 1)
    assert (np.diff(out.mean(axis=(1, 2))) > 0).all(), "left is still left"
    assert (out[1:] > 0.0).mean() > 0.98


def test_no_crop_leaves_a_fitting_grid_alone() -> None:
    out = VolumeRecipe((40, 40, 40), crop="none", percentiles=(0, 100))(box())
    np.testing.assert_allclose(out, box().array / box().array.max(), atol=1e-6)


def test_spacing_keeps_proportions() -> None:
    out = VolumeRecipe((48, 48, 48), spacing=1.0)(box())
    extent = [np.ptp(np.flatnonzero(out.max(axis=axes) > 0.3)) + 1 for axes in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(extent, (20, 40, 16), atol=2)


def test_spacing_refuses_to_cut_the_brain() -> None:
    with pytest.raises(DatasetError, match=r"at 1 mm the brain has .* target_size=\(16, 16, 16\) would cut it"):
        VolumeRecipe((16, 16, 16), spacing=1.0)(box())


def test_gamma_and_percentiles() -> None:
    plain = VolumeRecipe((20, 40, 16))(box())
    np.testing.assert_allclose(VolumeRecipe((20, 40, 16), gamma=2.0)(box()), plain**2, atol=1e-4)
    clipped = VolumeRecipe((20, 40, 16), percentiles=(10.0, 90.0))(box())
    assert (clipped == 1).mean() > 0.08


def test_a_tiny_brain_without_crop_is_refused() -> None:
    array = np.zeros((40, 40, 40), np.float32)
    array[:3, :3, :3] = 1
    with pytest.raises(DatasetError, match=r"0.5th and 99.5th percentiles are both 0.*crop='brain'"):
        VolumeRecipe((40, 40, 40), crop="none")(Volume(array, np.eye(4)))


@pytest.mark.parametrize(
    "wrong", [{"crop": "skull"}, {"percentiles": (99, 1)}, {"gamma": 0}, {"spacing": -1}, {"target_size": (8, 8)}]
)
def test_impossible_recipes(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=f"recipe: {next(iter(wrong))}="):
        VolumeRecipe(**wrong)


def test_every_setting_changes_the_digest() -> None:
    other = dict(target_size=(16, 16, 16), crop="none", threshold=0.1, margin=2, spacing=1.0, gamma=2.0)
    other |= dict(percentiles=(1.0, 99.0))
    digests = {VolumeRecipe(**{name: value}).digest for name, value in other.items()} | {VolumeRecipe().digest}
    assert len(digests) == len(VolumeRecipe.__dataclass_fields__) + 1


def test_samples(root: Path) -> None:
    data = make(root, split="train", num_classes=2)
    sample = data[0]
    assert sample["inputs"].shape == (1, *SIZE) and sample["inputs"].min() >= 0 and sample["inputs"].max() == 1
    info = sample["data_samples"]
    assert (info.gt_label.item(), info.subject, info.visit, info.scanner) == (0, "sub-00", "1", "A")
    assert info.sample_id == "images/sub-00_visit-1.nii.gz" and Path(info.img_path).is_file()
    assert len(data) == 8 and set(data.subjects) == {f"sub-{n:02d}" for n in range(4)}
    assert data.labels[:4].tolist() == [0, 1, 0, 1], "classes in turn"
    assert len(set(data.subjects[:4])) == 4, "subjects in turn"


def test_subjects_override_the_split(root: Path) -> None:
    data = make(root, split="train", subjects=["sub-00", "sub-05"])
    assert set(data.subjects) == {"sub-00", "sub-05"} and data.classes == ("control", "patient")
    with pytest.raises(DatasetError, match="no volume of the subject 'sub-99'"):
        make(root, subjects=["sub-99"])


def test_indices_shorten_but_leave_anchors(root: Path) -> None:
    data = make(root, indices=2)
    assert len(data) == 2 and len(data.labels) > 6
    assert data[5]["inputs"].shape == (1, *SIZE)


def test_prepared_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(root)[0]["inputs"]
    monkeypatch.setattr(VolumeCache, "_build_one", lambda *_: pytest.fail("prepared again"))
    assert (make(root)[0]["inputs"] == first).all()
    make(root, split="test")


def test_another_recipe_or_file_is_prepared_anew(root: Path) -> None:
    old = make(root)
    entry = old.cache.path(old.volumes.files[0])
    gamma = make(root, recipe=dict(gamma=2.0))
    np.testing.assert_allclose(gamma[0]["inputs"], old[0]["inputs"] ** 2, atol=2e-3)
    before = old[0]["inputs"]
    write_volume(Path(old.volumes.files[0]), np.random.default_rng(0).uniform(1, 2, SIZE).astype(np.float32))
    assert not (make(root)[0]["inputs"] == before).all()
    assert not entry.exists(), "what was made of the file as it was is removed"


def test_a_killed_build_goes_on(root: Path) -> None:
    data = make(root)
    paths = [data.cache.path(file) for file in data.volumes.files]
    kept = {path: path.stat().st_mtime_ns for path in paths[2:]}
    paths[0].unlink()
    part = paths[1].with_name(f"{paths[1].name}.1.part")
    paths[1].rename(part)  # half-written
    os.utime(part, (0, 0))
    make(root)
    assert all(path.is_file() for path in paths) and not part.exists()
    assert {path: path.stat().st_mtime_ns for path in paths[2:]} == kept


def test_a_damaged_entry_is_named(root: Path) -> None:
    data = make(root)
    place = data.cache.path(data.volumes.files[0])
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"npz, prepared from .*sub-00.* is gone or damaged .*delete it"):
        data[0]


def test_a_file_that_changes_during_training_does_not_stop_it(root: Path) -> None:
    data = make(root)
    before = data[0]["inputs"]
    Path(data.volumes.files[0]).touch()
    assert (data[0]["inputs"] == before).all()


def test_parallel_and_serial_builds_agree(root: Path, tmp_path: Path) -> None:
    one, two = make(root, cache_dir=str(tmp_path / "a")), make(root, cache_dir=str(tmp_path / "b"), cache_workers=2)
    for index in range(len(one)):
        assert (one[index]["inputs"] == two[index]["inputs"]).all()


def test_a_set_can_be_moved_with_its_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root)
    moved = root.rename(root.with_name("moved"))
    monkeypatch.setattr(VolumeCache, "_build_one", lambda *_: pytest.fail("prepared again"))
    make(moved)


def test_all_unusable_volumes_are_named_at_once(root: Path) -> None:
    nan = np.ones(SIZE, np.float32)
    nan[0, 0, 0] = np.nan
    write_volume(root / "images/sub-00_visit-1.nii.gz", nan)
    write_volume(root / "images/sub-01_visit-1.nii.gz", np.full(SIZE, 3, np.float32))
    write_volume(root / "images/sub-02_visit-1.nii.gz", np.ones((*SIZE, 4), np.float32))
    with pytest.raises(DatasetError, match="3 of 12 volumes cannot be used") as error:
        make(root)
    for words in ("sub-00_visit-1.nii.gz: 1 of 8192 voxels are NaN", "all voxels are 3", "4-D shape (16, 32, 16, 4)"):
        assert words in str(error.value)


def test_mixed_grids(root: Path) -> None:
    write_volume(root / "images/sub-03_visit-2.nii.gz", np.random.default_rng(0).uniform(1, 2, (20, 32, 16)))
    with pytest.raises(DatasetError, match=r"on 2 grids: 11 of 16x32x16 .*; 1 of 20x32x16 .*sub-03.*mixed_grids=True"):
        make(root)
    assert len(make(root, mixed_grids=True)) == 12


def test_sides_that_cannot_be_halved(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(80, 95, 80\): \[95\] is not divisible by 16.*95: 80 or 96"):
        make(root, target_size=(80, 95, 80), divisor=16)


def test_classes_and_splits_that_are_not_there(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"has the 2 classes \('control', 'patient'\), the model 3"):
        make(root, num_classes=3)
    with pytest.raises(DatasetError, match=r"no volume of class 'patient' among the 4 .* fewer folds"):
        make(root, num_classes=2, subjects=["sub-00", "sub-02"])
    with pytest.raises(DatasetError, match="no volume of split 'val'; it has test, train"):
        make(root, split="val")
    with pytest.raises(ConfigError, match="split='all'"):
        make(root, split="all")
    with pytest.raises(ConfigError, match=r"recipe=.*unexpected keyword argument 'gama'"):
        make(root, recipe=dict(gama=2))
    write_table(root, [{"image": "images/sub-00_visit-1.nii.gz"}])
    with pytest.raises(DatasetError, match=r"names no label.*num_classes=0 and alpha=0"):
        make(root, num_classes=2)


def test_a_cache_folder_that_cannot_be_written(root: Path) -> None:
    (root / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot be written .*cache_dir="):
        make(root, cache_dir=str(root / "file"))


def test_absent_monai_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.transforms", None)
    with pytest.raises(DatasetError, match=r"^brain volumes need monai.transforms .*pip install 'medkit\[volumes\]'"):
        make(root)


def test_axes_are_said_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("medkit.data.volume_dataset.print_log", lambda text, **_: lines.append(text))
    write_volume(root / "images/sub-00_visit-1.nii.gz", make(root)[0]["inputs"][0].numpy(), np.diag([-2.0, 2, 2, 1]))
    lines.clear()
    make(root)
    assert len(lines) == 1 and "axes brought to RAS from 11 RAS, 1 LAS" in lines[0] and "16x32x16 voxels" in lines[0]
