"""Near-duplicates of a plain folder of images, without the rest of the pipeline: ``python -m data_prep dedup``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dedup import DISTANCE, MIN_CORRELATION, find_pairs, group_numbers
from .errors import ExportError
from .pairs import Pairs
from .probe import THUMB, Probe
from .tasks import look_chunk
from .workers import crew, stream

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm"))
CHUNK = 32


@dataclass(frozen=True)
class Look:
    """What was seen in a folder: names of the readable images, their probes and thumbnails, and the faults."""

    files: list[str]
    probes: list[Probe]
    thumbs: np.ndarray  # (N, 64, 64) uint8, on the disk
    faults: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Duplicates:
    """Verified pairs by position in ``files``, and the groups that they link, the image to keep first."""

    files: list[str]
    pairs: Pairs
    groups: list[list[int]]
    number: dict[int, int]  # image -> its group


def look_at(folder: Path, jobs: int = 1, min_size: int = 0) -> Look:
    """Decode every image below ``folder`` once; images up to ``min_size`` on both sides are left out.

    Raises:
        ExportError: there is no image.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ExportError(f"{folder}: no image; expected a folder with {', '.join(sorted(SUFFIXES))} files")
    with tempfile.TemporaryFile() as handle:
        shape = (len(found), THUMB, THUMB)
        handle.truncate(len(found) * THUMB * THUMB)
        thumbs = np.memmap(handle, np.uint8, "r+", shape=shape)  # type: ignore[call-overload]  # takes a file too
    probes: list[Probe] = [Probe()] * len(found)
    chunks = range(0, len(found), CHUNK)
    tasks = ((at, ([(str(path), None) for path in found[at : at + CHUNK]], min_size)) for at in chunks)
    with crew(jobs) as team:
        for at, (own, data), _ in stream(team, look_chunk, tasks):
            probes[at : at + len(own)] = own
            thumbs[at : at + len(own)] = np.frombuffer(data, np.uint8).reshape(len(own), THUMB, THUMB)
    names = [path.relative_to(folder).as_posix() for path in found]
    faults = {name: own.fault for name, own in zip(names, probes, strict=True) if own.fault}
    use = [row for row, own in enumerate(probes) if own.pixel_digest]
    seen = thumbs if len(use) == len(found) else thumbs[use]
    return Look([names[row] for row in use], [probes[row] for row in use], seen, faults)


def find_duplicates(
    look: Look,
    distance: int = DISTANCE,
    min_correlation: float = MIN_CORRELATION,
    invariant: bool = False,
) -> Duplicates:
    """Near-duplicate pairs and groups. The largest image of a group comes first, then the one with fewest overlays."""
    pairs = find_pairs(look.probes, look.thumbs, distance, min_correlation, invariant)
    links = np.stack([pairs.table["first"], pairs.table["second"]], 1)
    groups: dict[int, list[int]] = {}
    for image, root in enumerate(group_numbers(len(look.files), links.tolist())):
        groups.setdefault(root, []).append(image)
    many = [sorted(group, key=lambda image: _preference(look, image)) for group in groups.values() if len(group) > 1]
    return Duplicates(look.files, pairs, many, {image: at for at, group in enumerate(many) for image in group})


def _preference(look: Look, image: int) -> tuple:
    own = look.probes[image]
    return -own.width * own.height, own.overlay_pixels, look.files[image]


def pair_rows(found: Duplicates) -> Sequence[tuple]:
    """Rows (a, b, hash_distance, correlation, turn, group, keep) for a csv file."""
    rows = []
    for pair in found.pairs:
        group = found.number[pair.first]
        keep = found.files[found.groups[group][0]]
        names = found.files[pair.first], found.files[pair.second]
        rows.append((*names, pair.distance, f"{pair.correlation:.4f}", pair.turn, group, keep))
    return rows
