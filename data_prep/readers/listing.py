"""The files of an export: hidden ones passed over and counted, unreadable folders and odd files reported.

Names are looked up as they stand, then in Unicode's composed form (a table typed on one system names files written
on another), then without regard to case, then by the file name alone where only one file has it.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..records import Record

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (  # those that cannot be decoded are here to be reported: what looks like an image is not passed over
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", *DICOM_SUFFIXES),
    *(".webp", ".gif", ".pgm", ".ppm", ".jp2"),
)
HIDDEN_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")
HIDDEN_FOLDERS = ("__macosx", "@eadir")
LOOKUPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("name_normalised", lambda name: unicodedata.normalize("NFC", name)),
    ("name_case", lambda name: unicodedata.normalize("NFC", name).casefold()),
    ("name_elsewhere", lambda name: unicodedata.normalize("NFC", name).casefold().rpartition("/")[2]),
)


@dataclass
class Listing:
    """Files below a folder by their relative path; ``faults`` are records that are dropped already."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    faults: list[Record] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _tables: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def find(self, name: str) -> tuple[str | None, str]:
        """The listed file that a table means by ``name`` and how it was found ("" as it stands), or None and why."""
        name = name.replace("\\", "/").removeprefix("./")
        for candidate in (name, name.removeprefix(f"{self.root.name}/")):
            if candidate in self.files:
                return candidate, ""
        for how, form in LOOKUPS:
            if how not in self._tables:
                table = self._tables[how] = {}
                for file in self.files:
                    table.setdefault(form(file), []).append(file)
            found = self._tables[how].get(form(name), [])
            if len(found) == 1:
                return found[0], how
            if found:
                return None, f"{len(found)} files answer to it: {', '.join(found[:3])}"
        return None, "no such file"


def list_files(root: Path, only_images: bool = False, without: tuple[str, ...] = ()) -> Listing:
    """List the files below ``root``.

    Args:
        root: a folder.
        only_images: pass over (and count in the remarks) files that do not look like an image.
        without: names of folders directly below ``root`` that are not entered.
    """
    listing = Listing(root)
    hidden: list[str] = []
    others: dict[str, int] = {}
    for path, fault in _walk(root, without, hidden):
        file = path.relative_to(root).as_posix()
        if only_images and not fault and not looks_like_image(path):
            suffix = path.suffix.casefold() or "no suffix"
            others[suffix] = others.get(suffix, 0) + 1
            continue
        printable = file.encode("utf-8", "backslashreplace").decode()
        if not fault and printable != file:
            fault = ("bad_file_name", "the name is not UTF-8; rename the file")
        if fault:
            record = Record(printable, path)
            record.drop("table", *fault)
            listing.faults.append(record)
        else:
            listing.files[file] = path
    listing.files = dict(sorted(listing.files.items()))
    if hidden:
        listing.remarks.append(f"{len(hidden)} hidden files passed over ({', '.join(sorted(set(hidden))[:4])})")
    if others:
        kinds = ", ".join(f"{suffix} {count}" for suffix, count in sorted(others.items())[:8])
        listing.remarks.append(f"{sum(others.values())} files that are no images passed over ({printable_text(kinds)})")
    return listing


def printable_text(text: str) -> str:
    """Text that can be written as UTF-8 whatever the file system holds."""
    return text.encode("utf-8", "backslashreplace").decode()


def looks_like_image(path: Path) -> bool:
    """True for the suffix of an image, and for a DICOM file without suffix."""
    suffix = path.suffix.casefold()
    return suffix in IMAGE_SUFFIXES or (not suffix.strip(".0123456789") and is_dicom(path))


def is_dicom(path: Path) -> bool:
    """True when the file carries the DICOM mark, or the suffix .dcm."""
    suffix = path.suffix.casefold()
    if suffix in IMAGE_SUFFIXES:
        return suffix in DICOM_SUFFIXES
    try:
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except (OSError, ValueError):
        return False


def image_folder(export: Path) -> Path:
    """EXPORT/images, EXPORT/JPEGImages (Pascal VOC), or the export itself."""
    return next((export / name for name in ("images", "JPEGImages") if (export / name).is_dir()), export)


def list_images(export: Path, folder: Path | None = None) -> Listing:
    """The images of an export; where they have no folder of their own, only what looks like an image."""
    folder = folder or image_folder(export)
    return list_files(folder, only_images=folder == export, without=("masks", "overlay_masks"))


def inside(file: str) -> bool:
    """False for names that are empty, absolute or climb out of their folder."""
    return file not in ("", ".") and not file.startswith("/") and ".." not in PurePosixPath(file).parts


def _walk(root: Path, without: tuple[str, ...], hidden: list[str]) -> Iterator[tuple[Path, tuple[str, str] | None]]:
    """Every file that is not hidden, and every folder that cannot be entered, with its fault."""
    stack, seen = [root], set()
    while stack:
        folder = stack.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:  # a link that leads back
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield folder / "", ("unreadable_folder", error.strerror or str(error))
            continue
        for entry in entries:
            name = entry.name.casefold()
            if name.startswith(".") or name in (*HIDDEN_FILES, *HIDDEN_FOLDERS):
                hidden.append(printable_text(entry.name))
            elif entry.is_dir():
                if folder != root or entry.name not in without:
                    stack.append(Path(entry.path))
            elif entry.is_file() or entry.is_symlink():
                yield Path(entry.path), None
            else:  # a pipe or device, on which reading would wait for ever
                yield Path(entry.path), ("not_a_file", "a pipe, socket or device")
