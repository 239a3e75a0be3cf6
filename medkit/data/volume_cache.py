"""Prepared volumes on disk: each is made once, in parallel, and again only when the file or the recipe changes.

``cache_dir/RECIPE/NAME-STATE.npz`` holds the voxels as float16 (an error of at most 0.00025) and what the file was;
RECIPE is the recipe's digest, NAME that of the path, STATE that of size and time of change. Files appear whole, so a
build that was killed goes on where it stopped. Used by `medkit.VolumeDataset`; docs/volume_data.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from medkit.data.volume_read import check_volume, need, read_volume
from medkit.data.volume_recipe import VolumeRecipe
from medkit.errors import DatasetError

_SHOWN = 5  # faults named at once


class VolumeCache:
    """Prepared volumes of one recipe.

    Args:
        folder: of all caches; made where absent.
        recipe: how volumes are prepared.
        root: paths below it count from there, so that the set can be moved with its cache.
    """

    def __init__(self, folder: str | Path, recipe: VolumeRecipe, root: str | Path = "") -> None:
        self.folder, self.recipe, self.root = Path(folder) / recipe.digest, recipe, Path(root)
        self._built: dict[str, Path] = {}  # as the files were when they were built

    def path(self, file: str | Path) -> Path:
        """Where the prepared volume of a file lies, once it is built."""
        file = Path(file)
        name = file.relative_to(self.root) if file.is_relative_to(self.root) else file.absolute()
        return self.folder / f"{_digest(name.as_posix())}-{_digest(_state(file))}.npz"

    def load(self, file: str | Path) -> np.ndarray:
        """A built volume, ``target_size`` float32 in [0, 1].

        Raises:
            DatasetError: what was built is gone or damaged.
        """
        return self._part(file, "volume").astype(np.float32)

    def facts(self, file: str | Path) -> dict:
        """``stored`` (axes of the file) and ``grid`` (shape and spacing in RAS) of a built volume."""
        return json.loads(str(self._part(file, "facts")))

    def _part(self, file: str | Path, name: str) -> np.ndarray:
        place = self._built.get(str(file)) or self.path(file)
        try:
            with np.load(place) as content:
                return content[name]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DatasetError(
                f"{place}, prepared from {file}, is gone or damaged ({error}); delete it and start again, and it is "
                "made anew"
            ) from error

    def build(self, files: Sequence[str], *, workers: int | None = None, mixed_grids: bool = False) -> list[dict]:
        """Make what is missing; `facts` of every file.

        Of several processes the first builds and the others wait. What could be built stays when others failed.

        Args:
            files: volumes wanted.
            workers: processes; default one per core, at most eight.
            mixed_grids: volumes may differ in shape or spacing.

        Raises:
            DatasetError: volumes that cannot be read or prepared, all of them at once; grids differ; the folder cannot
                be written.
        """
        said: list = [None]
        self._built = {}
        if is_main_process():
            try:
                self._build([file for file in files if not self.path(file).is_file()], workers)
            except DatasetError as error:
                said = [str(error)]
        broadcast_object_list(said)
        if said[0] is not None:
            raise DatasetError(said[0])
        self._built = {str(file): self.path(file) for file in files}
        facts = [self.facts(file) for file in files]
        if not mixed_grids:
            _check_grids(files, [fact["grid"] for fact in facts])
        return facts

    def _build(self, missing: list[str], workers: int | None) -> None:
        if not missing:
            return
        self._make_folder()
        workers = min(8, os.cpu_count() or 1) if workers is None else workers
        workers = workers if len(missing) > 4 else 0
        print_log(f"preparing {len(missing)} volumes in {self.folder}", logger="current")
        need("monai.transforms")  # once for all processes, which inherit it
        built: Iterable[str] = map(self._build_one, missing)
        if workers:
            built = DataLoader(_Missing(self, missing), batch_size=None, num_workers=workers)
        bar = tqdm(built, desc="volumes", total=len(missing), unit="", disable=None)  # none in a log file
        faults = [fault for fault in bar if fault]
        if faults:
            shown = "\n".join([*faults[:_SHOWN], *(["..."] if len(faults) > _SHOWN else [])])
            raise DatasetError(f"{len(faults)} of {len(missing)} volumes cannot be used:\n{shown}")

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "recipe.txt").write_text(f"{self.recipe}\n", encoding="utf-8")
        except OSError as error:
            raise DatasetError(
                f"{self.folder} cannot be written ({error.strerror}), where prepared volumes go; name another folder "
                "with cache_dir="
            ) from error
        for left in self.folder.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > 3600:  # of a build that was killed, not of one beside us
                    left.unlink()

    def _build_one(self, file: str) -> str:
        """Prepare and write one volume; what was wrong, or nothing."""
        try:
            volume = read_volume(file)
            check_volume(file, volume.array)
            prepared = self.recipe(volume)
        except DatasetError as error:
            return str(error) if str(file) in str(error) else f"{file}: {error}"
        place = self.path(file)
        facts = json.dumps({"stored": volume.stored, "grid": volume.grid, "source": str(file)})
        part = place.with_name(f"{place.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as out:
                np.savez(out, volume=prepared.astype(np.float16), facts=np.array(facts))
            part.replace(place)
        except OSError as error:
            return f"{place} cannot be written ({error.strerror}); free some space or name another cache_dir"
        for old in self.folder.glob(f"{place.name.split('-')[0]}-*.npz"):
            if old != place:
                old.unlink(missing_ok=True)  # of the file as it was before
        return ""


class _Missing(Dataset):
    """Item i builds volume i and is its fault; a DataLoader's processes do so in parallel."""

    def __init__(self, cache: VolumeCache, files: list[str]) -> None:
        self.cache, self.files = cache, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> str:
        return self.cache._build_one(self.files[index])


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def _state(file: Path) -> str:
    """Size and time of change; of a folder, those of all its files."""
    try:
        parts = sorted(file.iterdir()) if file.is_dir() else [file]
        states = [(path.name, path.stat()) for path in parts]
    except OSError as error:
        raise DatasetError(f"{file} cannot be opened ({error.strerror}); check data_root and the table") from error
    return json.dumps([(name if file.is_dir() else "", stat.st_size, stat.st_mtime_ns) for name, stat in states])


def _check_grids(files: Sequence[str], grids: list[str]) -> None:
    counts = Counter(grids).most_common()
    if len(counts) > 1:
        groups = "; ".join(f"{count} of {grid}, such as {files[grids.index(grid)]}" for grid, count in counts[:3])
        raise DatasetError(
            f"the volumes are on {len(counts)} grids: {groups}; register all onto one template, or set "
            "mixed_grids=True where each may be resampled by itself"
        )
