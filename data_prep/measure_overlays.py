"""Compare found overlays and what was painted over them with the known ones of a phantom export with twins.

Commands: ``python -m data_prep.phantom PHANTOM --images 300 --seed 3 --twins``, then
``python -m data_prep.measure_overlays PHANTOM [--out RUN]``. Without ``--out`` the search runs here; with it the
masks that a run wrote into RUN/overlay_masks are read.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .errors import DataPrepError
from .images import decode, to_grey
from .overlays import fill_mask, find_overlay, remove_overlay
from .scan import find_scan_area

PLANTED = {
    "colour_scale": "coloured scale",
    "caliper": "coloured caliper",
    "burned_text": "text",
    "grey_bar": "grey bar",
}
UNUSABLE = ("unreadable", "truncated", "empty_file", "row_without_file")
METHODS = ("medkit", "telea", "navier_stokes")


@dataclass
class Comparison:
    """Sums over an export.

    Attributes:
        pixels: by kind: known, found, both, and found at most two pixels from a known one. A frame with marks
            of several kinds counts as ``several``; ``all`` is the sum.
        clean_frames, clean_pixels, touched: frames without overlay, found pixels in them, frames with any.
        lesion_pixels: found pixels in lesion boxes of frames without overlay, by class.
        errors, textures: by method: absolute and squared differences to the twin over the filled pixels, and
            high-pass and gradient energies (filled, twin).
        times: seconds by what was done.
    """

    pixels: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(4, np.int64)))
    clean_frames: int = 0
    clean_pixels: int = 0
    touched: int = 0
    lesion_pixels: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    errors: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(3)))
    textures: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(4)))
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def compare_overlays(export: Path, out: Path | None = None, fill: bool = True) -> Comparison:
    """Compare every readable frame of a phantom export that was written with ``--twins``."""
    kinds: dict[str, dict[str, dict]] = defaultdict(dict)
    for row in _rows(export / "truth.csv"):
        kinds[row["file"]][row["kind"]] = json.loads(row["detail"])
    boxes: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(export / "truth_boxes.csv"):
        boxes[row["file"]].append(row)
    report = None if out is None else {row["file"]: row for row in _rows(out / "report.csv")}
    result = Comparison()
    for path in sorted((export / "images").iterdir()):
        own = kinds[path.name]
        if set(own) & set(UNUSABLE) or (report is not None and not report[path.name]["out_file"]):
            continue
        marked = _kind_of(own)
        mask, pixels = _found(path, out, report, result, bool(marked))
        if marked:
            known = _read_mask(export / "truth" / f"{path.stem}_overlay.png")
            for name in (marked, "all"):
                result.pixels[name] += _counts(known, mask)
            if fill and pixels is not None:
                _compare_fill(pixels, export / "truth" / f"{path.stem}_clean.png", result)
        else:
            _count_clean(mask, boxes[path.name], result)
    return result


def _found(path: Path, out: Path | None, report: dict | None, result: Comparison, marked: bool):
    """The mask (H, W) bool of a frame, and its pixels where the search ran here."""
    pixels = decode(path).pixels
    if out is not None and report is not None:
        mask_path = (out / "overlay_masks" / report[path.name]["out_file"]).with_suffix(".png")
        return (_read_mask(mask_path) if mask_path.is_file() else np.zeros(pixels.shape[:2], bool)), None
    area = find_scan_area(to_grey(pixels))
    start = time.process_time()
    overlay = find_overlay(pixels, area)
    result.times["find, frames with marks" if marked else "find, frames without"].append(time.process_time() - start)
    return overlay.mask > 0, pixels


def _kind_of(own: dict[str, dict]) -> str:
    names = sorted(set(own) & set(PLANTED))
    if len(names) != 1:
        return "several" if names else ""
    name = names[0]
    form = own[name].get("form", "") if name == "colour_scale" else own[name].get("colour", "")
    extra = form if name in ("colour_scale", "burned_text") else ""
    return f"{PLANTED[name]}, {extra}" if extra else PLANTED[name]


def _counts(known: np.ndarray, mask: np.ndarray) -> np.ndarray:
    wide = np.asarray(cv2.dilate(known.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    return np.array([known.sum(), mask.sum(), (known & mask).sum(), (wide & mask).sum()])


def _count_clean(mask: np.ndarray, boxes: list[dict[str, str]], result: Comparison) -> None:
    result.clean_frames += 1
    result.clean_pixels += int(mask.sum())
    result.touched += bool(mask.any())
    for box in boxes:
        x1, y1, x2, y2 = (int(float(box[name])) for name in ("x1", "y1", "x2", "y2"))
        result.lesion_pixels[box["class"]] += int(mask[y1 : y2 + 1, x1 : x2 + 1].sum())


def _compare_fill(pixels: np.ndarray, twin_path: Path, result: Comparison) -> None:
    """Fill the marks inside the scan area with every method and add up what differs from the twin."""
    area = find_scan_area(to_grey(pixels))
    overlay = find_overlay(pixels, area)
    if overlay.doppler or not overlay.pixels:
        return
    start = time.process_time()
    ours = remove_overlay(pixels, overlay, area)
    result.times["remove"].append(time.process_time() - start)
    mask = fill_mask(pixels, overlay, area)
    if not cv2.countNonZero(mask):
        return
    twin = _luma(decode(twin_path).pixels)
    filled = {
        "medkit": _luma(ours),
        "telea": _luma(cv2.inpaint(pixels, mask, 3, cv2.INPAINT_TELEA)),
        "navier_stokes": _luma(cv2.inpaint(pixels, mask, 3, cv2.INPAINT_NS)),
    }
    at = mask > 0
    for name, image in filled.items():
        gap = (image - twin)[at]
        result.errors[name] += [np.abs(gap).sum(), (gap**2).sum(), gap.size]
        result.textures[name] += [*_texture(image, at), *_texture(twin, at)]


def _luma(pixels: np.ndarray) -> np.ndarray:
    return to_grey(pixels).astype(np.float32)


def _texture(image: np.ndarray, at: np.ndarray) -> tuple[float, float]:
    """Energy over the pixels ``at``: of what a 5 x 5 mean takes away, and of the differences to neighbours."""
    fine = image - cv2.blur(image, (5, 5))
    energy = sum(
        float((np.diff(image, axis=axis)[at[1:, :] if axis == 0 else at[:, 1:]] ** 2).sum()) for axis in (0, 1)
    )
    return float((fine[at] ** 2).sum()), energy


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))
    except OSError as error:
        raise DataPrepError(f"{path}: {error.strerror}; expected a phantom export written with --twins") from error


def _read_mask(path: Path) -> np.ndarray:
    """Pixels above 0 of a grey image, (H, W) bool."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise DataPrepError(f"{path}: no readable mask; expected a grey PNG, write the export with --twins")
    return np.asarray(pixels > 0)


def lines_of(result: Comparison) -> Iterable[str]:
    """The comparison as lines of text."""
    for kind, (known, found, both, near) in sorted(result.pixels.items()):
        yield (
            f"{kind:<24} known {known:>6}  found {found:>6}  both {both:>6}  recall {both / max(1, known):.3f}  "
            f"precision {both / max(1, found):.3f}  within 2 px {near / max(1, found):.3f}"
        )
    frames = max(1, result.clean_frames)
    yield (
        f"frames without overlay   {result.clean_frames}: {result.touched} touched, "
        f"{result.clean_pixels / frames:.2f} pixels per frame; in lesion boxes "
        + (", ".join(f"{name} {count}" for name, count in sorted(result.lesion_pixels.items())) or "none")
    )
    for name in METHODS:
        if name in result.errors:
            total, squares, count = result.errors[name]
            fine, energy, fine_twin, energy_twin = result.textures[name]
            yield (
                f"fill {name:<19} {int(count)} pixels  MAE {total / count:.2f}  RMSE {(squares / count) ** 0.5:.2f}  "
                f"std ratio {(fine / fine_twin) ** 0.5:.2f}  gradient energy ratio {energy / energy_twin:.2f}"
            )
    for name, seconds in sorted(result.times.items()):
        median, mean = 1e3 * float(np.median(seconds)), 1e3 * float(np.mean(seconds))
        yield f"time {name:<24} median {median:.1f} ms, mean {mean:.1f} ms"


def main() -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.measure_overlays", description="Compare found overlays with the known ones."
    )
    parser.add_argument("export", type=Path, help="phantom export written with --twins")
    parser.add_argument("--out", type=Path, help="output of python -m data_prep whose masks are read")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        for line in lines_of(compare_overlays(args.export, args.out)):
            print(line)
    except DataPrepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
