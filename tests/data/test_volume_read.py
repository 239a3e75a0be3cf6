"""Volumes of every format arrive in RAS, and what is no volume is refused by name."""

import sys
from pathlib import Path

import numpy as np
import pytest

from medkit.data.volume_read import check_volume, read_volume
from medkit.errors import DatasetError
from tests.volume_set import write_volume

nib = pytest.importorskip("nibabel")
sitk = pytest.importorskip("SimpleITK")

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)  # every voxel differs, so every flip shows
RAS = np.diag([2.0, 3.0, 4.0, 1.0])


def write_series(folder: Path, array: np.ndarray, drop: tuple[int, ...] = ()) -> Path:
    """A DICOM series of (X, Y, Z) in RAS with voxels of 2 x 3 x 4 mm, stored in DICOM's LPS."""
    folder.mkdir(parents=True)
    image = sitk.GetImageFromArray(array[::-1, ::-1].T.copy())
    image.SetSpacing((2, 3, 4))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(image.GetSize()[2]):
        if number in drop:
            continue
        piece = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{number + 1}",
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number),
        }
        for key, value in tags.items():
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{99 - number}.dcm"))  # names in the wrong order
        writer.Execute(piece)
    return folder


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPS", "PIR", "SRA"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
def test_any_orientation_arrives_in_ras(tmp_path: Path, axes: str, suffix: str) -> None:
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    stored = nib.orientations.apply_orientation(ARRAY, turn)
    affine = RAS @ nib.orientations.inv_ornt_aff(turn, ARRAY.shape)
    kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
    nib.save(kind(stored.astype(np.int16 if suffix != ".mgz" else np.float32), affine), tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.stored == axes and volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-6)
    assert volume.grid == "4x5x6 voxels of 2x3x4 mm"


def test_dicom_series_and_nifti_of_one_scan_agree(tmp_path: Path) -> None:
    volume = read_volume(write_series(tmp_path / "series", ARRAY))
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.stored == "LPS" and volume.spacing == (2, 3, 4)
    np.testing.assert_allclose(volume.affine[:3, :3], RAS[:3, :3])


def test_dicom_faults(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gap: gaps between its 5 slices run from 4.00 to 8.00 mm"):
        read_volume(write_series(tmp_path / "gap", ARRAY, drop=(2,)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty holds 0 DICOM series"):
        read_volume(tmp_path / "empty")


def test_npy_is_taken_as_it_is_and_said_to_be_in_doubt(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    volume = read_volume(tmp_path / "a.npy")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.stored == "RAS?"


def test_nifti_without_a_declared_orientation_is_in_doubt(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ARRAY, None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").stored.endswith("?")


def test_a_fourth_axis_of_one_is_dropped_and_a_longer_one_refused(tmp_path: Path) -> None:
    one = write_volume(tmp_path / "one.nii", ARRAY[..., None].astype(np.float32))
    np.testing.assert_array_equal(read_volume(one).array, ARRAY)
    two = write_volume(tmp_path / "two.nii", np.stack([ARRAY, ARRAY], 3).astype(np.float32))
    with pytest.raises(DatasetError, match=r"two.nii has the 4-D shape \(4, 5, 6, 2\).*four_to_three"):
        read_volume(two)
    with pytest.raises(DatasetError, match="2-D shape"):
        np.save(tmp_path / "flat.npy", ARRAY[0])
        read_volume(tmp_path / "flat.npy")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    whole = write_volume(tmp_path / "whole.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.nii").write_text("no image")
    (tmp_path / "page.pdf").write_text("")
    colour = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colour, RAS), tmp_path / "colour.nii")
    for name, words in {
        "cut.nii.gz": "cannot be read",
        "text.nii": "cannot be read",
        "page.pdf": "is no volume; expected .nii",
        "colour.nii": "in colour",
        "absent.nii": "does not exist",
    }.items():
        with pytest.raises(DatasetError, match=f"{name}.*{words}"):
            read_volume(tmp_path / name)


def test_nan_and_constant_volumes_are_refused() -> None:
    wrong = ARRAY.astype(np.float32)
    wrong[0, 0, :2] = np.nan, np.inf
    with pytest.raises(DatasetError, match=r"a.nii: 2 of 120 voxels are NaN or infinite.*nan_to_num"):
        check_volume("a.nii", wrong)
    with pytest.raises(DatasetError, match=r"a.nii: all voxels are 7"):
        check_volume("a.nii", np.full((2, 2, 2), 7, np.float32))
    check_volume("a.nii", ARRAY)


def test_absent_nibabel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DatasetError, match=r"need nibabel.*pip install 'medkit\[volumes\]'"):
        read_volume(path)
