"""Reading one brain volume of any format with its axes brought to RAS: right, anterior, superior.

NIfTI and MGZ through nibabel, DICOM series through SimpleITK (whose world is left, posterior, superior and whose arrays
are z, y, x), npy as it is. Extra ``volumes``. Used by `medkit.VolumeDataset`; formats and axes: docs/volume_data.md.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from medkit.data.volume_tree import DICOM_SUFFIXES, is_volume
from medkit.errors import DatasetError

__all__ = ["Volume", "check_volume", "need", "read_volume"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """A volume in RAS.

    Attributes:
        array: ``(X, Y, Z)`` float32: index 0 grows to the right, 1 to the front, 2 to the top.
        affine: ``(4, 4)`` float64 from indices to mm in the RAS world.
        stored: axes of the file, such as ``LAS``; ``RAS?`` where the file does not say.
    """

    array: np.ndarray
    affine: np.ndarray
    stored: str = "RAS"

    @property
    def spacing(self) -> tuple[float, ...]:
        """Side of a voxel along each axis in mm."""
        return tuple(float(side) for side in np.linalg.norm(self.affine[:3, :3], axis=0).round(3))

    @property
    def grid(self) -> str:
        """Shape and spacing in words."""
        shape, spacing = ("x".join(f"{side:g}" for side in sides) for sides in (self.array.shape, self.spacing))
        return f"{shape} voxels of {spacing} mm"


def need(name: str) -> ModuleType:
    """An optional package of the extra ``volumes``.

    Raises:
        DatasetError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DatasetError(
            f"brain volumes need {name} ({error}); install it with pip install 'medkit[volumes]'"
        ) from None


def read_volume(path: str | Path) -> Volume:
    """Read a file, or the folder of one DICOM series.

    Raises:
        DatasetError: not there, not a volume, truncated, more than three axes, colour, or slices missing.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path} does not exist; check data_root and the paths of the table")
    if path.is_dir() or path.name.lower().endswith(DICOM_SUFFIXES):
        return _to_ras(path, *_read_dicom(path))
    if not is_volume(path.name):
        raise DatasetError(f"{path} is no volume; expected .nii, .nii.gz, .mgz, .npy or a folder of DICOM files")
    return _read_npy(path) if path.suffix == ".npy" else _read_nibabel(path)


def check_volume(path: str | Path, array: np.ndarray) -> None:
    """Refuse what no autoencoder can learn from.

    Raises:
        DatasetError: NaN or infinite voxels, or all voxels alike.
    """
    if wrong := int(array.size - np.isfinite(array).sum()):
        raise DatasetError(
            f"{path}: {wrong} of {array.size} voxels are NaN or infinite; export or register it again, or write it "
            "anew with numpy.nan_to_num"
        )
    if not array.size or array.max() == array.min():
        value = f"all voxels are {array.flat[0]:g}" if array.size else "no voxel"
        raise DatasetError(f"{path}: {value}, expected an image; take it out of the table or export it again")


def _read_nibabel(path: Path) -> Volume:
    nib = need("nibabel")
    try:
        image = nib.load(path)
        if image.get_data_dtype().fields is not None:
            raise DatasetError(f"{path} is in colour; expected one number per voxel: export the grey values")
        array = _three_axes(path, image.shape, lambda: image.get_fdata(dtype=np.float32, caching="unchanged"))
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); copy or export it again") from error
    declared = getattr(image, "get_sform", None) is None or any(int(image.header[f"{k}form_code"]) for k in "sq")
    # Without any code nibabel guesses that index 0 grows to the left, as Analyze files did.
    return _to_ras(path, array, image.affine, "" if declared else "?")


def _read_npy(path: Path) -> Volume:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); expected numpy.save of (X, Y, Z)") from error
    if array.dtype.kind not in "biuf":
        raise DatasetError(f"{path} holds {array.dtype}; expected numbers")
    return Volume(_three_axes(path, array.shape, lambda: array.astype(np.float32)), np.eye(4), "RAS?")


def _three_axes(path: Path, shape: tuple[int, ...], load) -> np.ndarray:
    """(X, Y, Z); a fourth axis of length 1, which converters leave, is dropped."""
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        cure = "split it into volumes (nibabel.four_to_three, fslsplit)" if len(shape) > 3 else "export the volume"
        raise DatasetError(f"{path} has the {len(shape)}-D shape {tuple(shape)}; expected three axes: {cure}")
    return np.asarray(load(), np.float32).reshape(shape[:3])


def _read_dicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) voxels and the affine (4, 4) to the RAS world."""
    sitk = need("SimpleITK")
    try:
        image = _read_series(sitk, path) if path.is_dir() else sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise DatasetError(f"{path} cannot be read ({str(error).splitlines()[-1]}); export it again") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DatasetError(f"{path} is in colour; expected one number per voxel: export the grey values")
    array = _three_axes(path, image.GetSize(), lambda: sitk.GetArrayFromImage(image).T)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return array, _LPS_TO_RAS @ affine


def _read_series(sitk: ModuleType, folder: Path):
    names = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(names) != 1:
        raise DatasetError(
            f"{folder} holds {len(names)} DICOM series {list(names)[:3]}; expected one: a folder for each series"
        )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), names[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warning of uneven gaps is the error below
    image = reader.Execute()
    places = [reader.GetMetaData(i, "0020|0032") for i in range(len(reader.GetFileNames()))]
    centres = np.array([[float(part) for part in place.split("\\")] for place in places])  # (Z, 3) mm
    gaps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    if len(gaps) and gaps.max() - gaps.min() > 0.05 * gaps.mean():
        raise DatasetError(
            f"{folder}: gaps between its {len(centres)} slices run from {gaps.min():.2f} to {gaps.max():.2f} mm, so "
            "slices are missing or doubled; export the series again"
        )
    return image


def _to_ras(path: Path, array: np.ndarray, affine: np.ndarray, doubt: str = "") -> Volume:
    nib = need("nibabel")
    orientation = nib.io_orientation(affine)  # (3, 2)
    if not np.isfinite(orientation).all():
        raise DatasetError(f"{path}: its affine {affine[:3, :3].tolist()} has no three axes; export it again")
    stored = "".join(nib.aff2axcodes(affine)) + doubt
    moved = affine @ nib.orientations.inv_ornt_aff(orientation, array.shape)
    return Volume(np.ascontiguousarray(nib.apply_orientation(array, orientation)), moved, stored)
