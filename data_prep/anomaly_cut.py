"""One image of an anomaly set, in a worker: squares of one size as PNG with their masks, and trivial scores of each.

Command: ``python -m data_prep anomaly EXPORT OUT``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import UnreadableImage
from .images import decode, encode_png, to_grey, write_whole
from .probe import FLAT_STD
from .records import Box

TISSUE = 8  # grey level (mean of 9 x 9 pixels) from which a place belongs to the scan and not to its surroundings
FULL = 0.9  # share of a patch that is tissue or lesion
TRIES = 40  # random places looked at for each patch
MARGIN = 6  # pixels between a lesion-free patch and any lesion box

Window = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class CutJob:
    """One image: where from, where to (``stem`` below ``images/`` and ``masks/`` of ``folder``), and how to cut."""

    source: str
    folder: str
    stem: str
    anomalous: bool
    size: int
    square: bool = False
    drop_top: float = 0.0
    mask: str = ""
    boxes: tuple[Box, ...] = ()
    side: int = 0  # of patches; 0: the whole image
    count: int = 0  # of lesion-free patches
    centres: tuple[tuple[float, float], ...] = ()  # where lesions lie in all images, shares of width and height
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """One written square; ``sharpness`` is the variance of the Laplacian, as found and as written."""

    image: str  # below images/
    mask: str  # below masks/, "" where nothing is outlined
    anomalous: bool
    grey: bool
    digest: bytes
    sharpness: tuple[float, float]
    mean: float


@dataclass(frozen=True)
class Cut:
    """What became of one image; ``fault`` is (reason, detail) when nothing was written."""

    fault: tuple[str, str] | None = None
    files: tuple[tuple[str, int, int], ...] = ()  # (path, size, time in ns)
    size: tuple[int, int] = (0, 0)  # (width, height) of the source
    parts: tuple[Part, ...] = ()


def cut_chunk(jobs: Sequence[CutJob]) -> list[Cut]:
    """Cut and write some images. OSError (a full disk) stops the run, which can be taken up again."""
    return [_cut(job) for job in jobs]


def _cut(job: CutJob) -> Cut:
    try:
        pixels = _plain(decode(Path(job.source)).pixels)
        mask = _mask(job, pixels.shape[:2])
    except UnreadableImage as error:
        return Cut((error.reason, error.detail))
    spread = float(cv2.meanStdDev(pixels)[1].max())
    if spread < FLAT_STD:
        return Cut(("flat", f"grey levels deviate by {spread:.1f}, expected at least {FLAT_STD:g}"))
    if job.side:
        windows = list(patch_windows(to_grey(pixels), job))
        if not windows:
            return Cut(("no_patch", f"no square of {job.side} pixels fits in the tissue"))
    else:
        windows = [("", view_of(pixels.shape[:2], job.square, job.drop_top), job.anomalous)]
    parts, files = [], []
    for name, window, anomalous in windows:
        part, written = _write(job, f"{job.stem}{name}.png", pixels, mask if anomalous else None, window, anomalous)
        parts.append(part)
        files += [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in written]
    return Cut(None, tuple(files), (pixels.shape[1], pixels.shape[0]), tuple(parts))


def _plain(pixels: np.ndarray) -> np.ndarray:
    """(H, W) where three channels are the same."""
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def _mask(job: CutJob, shape: tuple[int, int]) -> np.ndarray | None:
    """(H, W) uint8, 255 where anomalous: of the mask file, or of the boxes."""
    if job.mask:
        found = to_grey(decode(Path(job.mask)).pixels)
        if found.shape != shape:
            raise UnreadableImage("mask_size", f"mask {found.shape[::-1]} and image {shape[::-1]} differ in size")
        return np.where(found > 0, 255, 0).astype(np.uint8)
    if not job.boxes:
        return None
    mask = np.zeros(shape, np.uint8)
    for box in job.boxes:
        left, top, right, bottom = (max(0, round(end)) for end in box)
        mask[top:bottom, left:right] = 255
    return mask


def view_of(shape: tuple[int, int], square: bool, drop_top: float) -> Window:
    """The part of an image (H, W) that is kept whole."""
    height, width = shape
    top = int(height * drop_top)
    if not square:
        return 0, top, width, height
    side = min(height - top, width)
    left, top = (width - side) // 2, top + (height - top - side) // 2
    return left, top, left + side, top + side


def patch_windows(grey: np.ndarray, job: CutJob) -> Iterator[tuple[str, Window, bool]]:
    """Name, window and label of the patches of a frame: one for each lesion, and lesion-free ones.

    A lesion lies anywhere within a quarter of the side from the centre. Lesion-free patches lie where lesions lie in
    other frames, so that the depth tells nothing.
    """
    height, width = grey.shape
    rng = np.random.default_rng(list(hashlib.blake2b(f"{job.seed} {job.stem}".encode(), digest_size=8).digest()))
    tissue = (cv2.blur(grey, (9, 9)) >= TISSUE).astype(np.uint8)
    taken = np.zeros_like(tissue)
    for left, top, right, bottom in job.boxes:
        outline = slice(max(0, round(top)), round(bottom)), slice(max(0, round(left)), round(right))
        tissue[outline] = taken[outline] = 1
    near = cv2.dilate(taken, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))

    def fits(window: Window, free: bool) -> bool:
        left, top, right, bottom = window
        if left < 0 or top < 0 or right > width or bottom > height:
            return False
        inside = slice(top, bottom), slice(left, right)
        return tissue[inside].mean() >= FULL and not (free and near[inside].any())

    for number, (left, top, right, bottom) in enumerate(job.boxes):
        shifts = rng.uniform(-job.side / 4, job.side / 4, (TRIES, 2))
        centres = np.array([(left + right) / 2, (top + bottom) / 2]) + shifts
        window = next((found for found in map(_window(job.side), centres) if fits(found, free=False)), None)
        if window:
            yield f"_lesion{number}", window, True
    places = rng.permutation(np.array(job.centres).reshape(-1, 2))[: TRIES * job.count]
    centres = places * (width, height) + rng.uniform(-job.side / 4, job.side / 4, places.shape)
    done = 0
    for window in map(_window(job.side), centres):
        if done < job.count and fits(window, free=True):
            near[window[1] : window[3], window[0] : window[2]] = 1  # patches of one frame do not overlap
            yield f"_free{done}", window, False
            done += 1


def _window(side: int):
    def window(centre: np.ndarray) -> Window:
        left, top = (round(float(end) - side / 2) for end in centre)
        return left, top, left + side, top + side

    return window


def _write(
    job: CutJob, name: str, pixels: np.ndarray, mask: np.ndarray | None, window: Window, anomalous: bool
) -> tuple[Part, list[Path]]:
    left, top, right, bottom = window
    part = pixels[top:bottom, left:right]
    width, height = (job.size, job.size) if job.size else (right - left, bottom - top)
    shrinks = min(right - left, bottom - top) > width
    image = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    written = [Path(job.folder, "images", name)]
    write_whole(written[0], encode_png(image))
    if mask is not None:
        small = cv2.resize(mask[top:bottom, left:right], (width, height), interpolation=cv2.INTER_NEAREST)
        written.append(Path(job.folder, "masks", name))
        write_whole(written[1], encode_png(small))
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, person=b"%dx%d" % (width, height)).digest()
    sharp = (_sharpness(part), _sharpness(image))
    found = Part(name, name * (mask is not None), anomalous, image.ndim == 2, digest, sharp, float(image.mean()))
    return found, written


def _sharpness(pixels: np.ndarray) -> float:
    return float(cv2.Laplacian(to_grey(np.ascontiguousarray(pixels)), cv2.CV_64F).var())
