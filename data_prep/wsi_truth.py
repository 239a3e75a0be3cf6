"""Which tiles of a synthetic slide show tumour: the outlines that were drawn, and labels of tiles from them.

Command: ``python -m data_prep.wsi_truth OUT/truth BAGS/patches`` writes ``instance_labels`` into every h5 of a folder
(``patches/`` before features are extracted, or ``features/``): 1 from half of the tile on, 0 up to a twentieth, -1
between, since nobody would hold an edge against a method.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import ExportError, OptionError
from .images import write_whole
from .one_line import one_line_errors

POSITIVE, NEGATIVE = 0.5, 0.05  # shares of tumour in a tile


@dataclass(frozen=True)
class SlideTruth:
    """What was drawn on a slide.

    Attributes:
        width, height: pixels of level 0.
        mpp: micrometres per such pixel.
        tumour: outlines, each (P, 2) int x, y in such pixels.
    """

    width: int
    height: int
    mpp: float
    tumour: tuple[np.ndarray, ...]

    @classmethod
    def of_mask(cls, mask: np.ndarray, mpp: float) -> SlideTruth:
        """Outlines of a mask (H, W) bool of 1 micrometre per pixel."""
        size = np.round(np.array(mask.shape[::-1]) / mpp).astype(int)
        found = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        outlines = tuple(np.round((c[:, 0] + 0.5) / mpp).astype(int) for c in found if len(c) > 2)
        return cls(int(size[0]), int(size[1]), mpp, outlines)

    @classmethod
    def read(cls, path: str | Path) -> SlideTruth:
        """Of a file that `write` wrote.

        Raises:
            ExportError: it is missing or something else.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            outlines = tuple(np.array(outline, int).reshape(-1, 2) for outline in found["tumour"])
            return cls(int(found["width"]), int(found["height"]), float(found["mpp"]), outlines)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"{path} holds no truth of a slide ({error}); name the truth/ of python -m data_prep.wsi_phantom"
            ) from error

    def write(self, path: str | Path) -> None:
        """As JSON, whole or not at all."""
        facts = dict(width=self.width, height=self.height, mpp=self.mpp, tumour=[o.tolist() for o in self.tumour])
        write_whole(Path(path), json.dumps(facts).encode())


def tumour_shares(coords: np.ndarray, side_px: float, truth: SlideTruth) -> np.ndarray:
    """Part of tumour (N,) in each tile; ``coords`` (N, 2) upper left corners, all in pixels of level 0."""
    step = max(side_px / 64, 1.0)  # pixels of level 0 per pixel of the raster
    raster = np.zeros((int(truth.height / step) + 2, int(truth.width / step) + 2), np.uint8)
    cv2.fillPoly(raster, [np.round(outline / step).astype(np.int32) for outline in truth.tumour], 1)
    sums = cv2.integral(raster)  # (H + 1, W + 1)
    limit = np.array(raster.shape[::-1])
    low = np.round(np.asarray(coords, float) / step).astype(int).clip(0, limit)
    high = np.round((np.asarray(coords, float) + side_px) / step).astype(int).clip(0, limit)
    (x1, y1), (x2, y2) = low.T, high.T
    return (sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]) / (side_px / step) ** 2


def instance_labels(coords: np.ndarray, side_px: float, truth: SlideTruth) -> np.ndarray:
    """Labels (N,) int8 of tiles: 1 tumour, 0 none, -1 an edge; arguments of `tumour_shares`."""
    shares = tumour_shares(coords, side_px, truth)
    return np.where(shares >= POSITIVE, 1, np.where(shares <= NEGATIVE, 0, -1)).astype(np.int8)


def label_folder(truth: str | Path, folder: str | Path) -> dict[str, np.ndarray]:
    """Write ``instance_labels`` into every h5 of ``folder``; returns them by slide.

    Raises:
        ExportError: there is no h5, one has no ``coords`` with a side, or its slide has no truth.
        OptionError: h5py is missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise OptionError(f"h5 files need h5py ({error}); install it with pip install 'medkit[slides]'") from None
    files, written = sorted(Path(folder).glob("*.h5")), {}
    if not files:
        raise ExportError(f"{folder} has no h5 files; name the patches/ of python -m data_prep slides, or features/")
    for path in files:
        drawn = SlideTruth.read(Path(truth, f"{path.stem}.json"))
        with h5py.File(path, "r+") as file:
            if "coords" not in file:
                raise ExportError(f"{path} has no coords, so nobody knows where its tiles lie; extract it again")
            labels = instance_labels(file["coords"][()], _side(file["coords"].attrs, path), drawn)
            if "instance_labels" in file:
                del file["instance_labels"]
            file["instance_labels"] = labels
        written[path.stem] = labels
    return written


def _side(attrs, path: Path) -> float:
    if "patch_size_level0" in attrs:
        return float(attrs["patch_size_level0"])
    if "patch_size" in attrs:
        return float(attrs["patch_size"]) * float(np.ravel(attrs.get("downsample", 1.0))[0])
    raise ExportError(f"coords of {path} have no patch_size_level0 and no patch_size; they have {sorted(attrs)}")


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.wsi_truth", description="Write truth into h5 files.")
    parser.add_argument("truth", help="truth/ of python -m data_prep.wsi_phantom")
    parser.add_argument("folder", help="patches/ or features/ with an h5 per slide")
    args = parser.parse_args(argv)
    labels = np.concatenate(list(label_folder(args.truth, args.folder).values()))
    print(f"{args.folder}: {len(labels)} tiles: {(labels == 1).sum()} tumour, {(labels == 0).sum()} without, "
          f"{(labels == -1).sum()} edges")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
