"""Cleans every image of a folder: images, masks and a csv row each. ``python -m data_prep overlays IMAGES OUT``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import EmptyResultError, OptionError, UnreadableImage
from ..images import decode, encode_png, to_grey, write_whole
from ..scan import find_scan_area
from ..workers import run_all
from . import find_overlay, remove_overlay
from .types import KINDS

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm")
COLUMNS = ("file", "result", "pixels", *KINDS, "flow_share", "detail")


@dataclass(frozen=True)
class Cleaned:
    """What happened to one image: ``cleaned``, ``nothing_found``, ``doppler_frame`` or ``unreadable``."""

    file: str
    result: str
    kinds: tuple[tuple[str, int], ...] = ()
    flow_share: float = 0.0
    detail: str = ""

    def row(self) -> tuple:
        """Its row of overlays.csv, in the order of `COLUMNS`."""
        counts = dict(self.kinds)
        by_kind = [counts.get(kind, 0) for kind in KINDS]
        return (self.file, self.result, sum(by_kind), *by_kind, f"{self.flow_share:.4f}", self.detail)


def clean_folder(images: Path, out: Path, jobs: int = 1) -> list[Cleaned]:
    """Clean all images below ``images`` into ``out``/images, their masks into ``out``/overlay_masks.

    Frames without marks, and Doppler frames, are copied as they are (DICOM: the first frame, as PNG). Images are
    only read.

    Raises:
        OptionError: ``out`` holds files already, or lies in ``images``.
        EmptyResultError: there is no image.
    """
    if not images.is_dir():
        raise OptionError(f"{images} is no folder: expected one with images in it")
    if out.resolve() == images.resolve() or images.resolve() in out.resolve().parents:
        raise OptionError(f"OUT {out} lies in {images}: choose a folder beside it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"OUT {out} is not an empty folder: choose another")
    names = [path.relative_to(images).as_posix() for path in images.rglob("*") if path.suffix.lower() in SUFFIXES]
    if not names:
        raise EmptyResultError(f"no image in {images}: expected files ending in {', '.join(SUFFIXES)}")
    names.sort()
    plain = Counter(_png(name) for name in names)
    targets = [_png(name) if plain[_png(name)] == 1 else f"{name}.png" for name in names]
    return run_all(clean_file, [(str(images), str(out), *pair) for pair in zip(names, targets, strict=True)], jobs)


def _png(name: str) -> str:
    return Path(name).with_suffix(".png").as_posix()


def clean_file(images: str, out: str, name: str, target: str) -> Cleaned:
    """Clean one image; runs in a worker."""
    try:
        picture = decode(Path(images) / name)
    except UnreadableImage as error:
        return Cleaned(name, "unreadable", detail=f"{error.reason} {error.detail}".strip())
    area = find_scan_area(to_grey(picture.pixels))
    overlay = find_overlay(picture.pixels, area)
    if not overlay.pixels:
        if picture.as_is:
            write_whole(Path(out) / "images" / name, picture.data)
        else:  # the bytes of a DICOM file would name the patient
            write_whole(Path(out) / "images" / target, encode_png(picture.pixels))
        share = f"colour on {overlay.flow_share:.1%} of the scan, left as it is" if overlay.doppler else ""
        return Cleaned(name, "doppler_frame" if overlay.doppler else "nothing_found", (), overlay.flow_share, share)
    write_whole(Path(out) / "images" / target, encode_png(remove_overlay(picture.pixels, overlay, area)))
    write_whole(Path(out) / "overlay_masks" / target, encode_png(overlay.mask))
    return Cleaned(name, "cleaned", tuple(overlay.kinds.items()), overlay.flow_share)
