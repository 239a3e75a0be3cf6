"""The output folder appears as a whole at the end of a run, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OptionError

MARK = "summary.json"  # the file by which an earlier output is known


@contextmanager
def new_folder(out: Path, export: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to; on a clean exit it becomes ``out``, on an error it vanishes.

    Raises:
        OptionError: ``out`` holds something, or lies inside the export (or round it).
    """
    check_target(out, export, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        folder.chmod(0o755)
        yield folder
        _swap(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_target(out: Path, export: Path, overwrite: bool) -> None:
    """Refuse an output folder that would lose or mix files."""
    target, source = out.resolve(), export.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise OptionError(f"OUT {out} and EXPORT {export} lie in each other: choose an output folder beside the export")
    if not out.exists():
        return
    if not out.is_dir():
        raise OptionError(f"OUT {out} is a file: expected a folder that is empty or does not exist")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise OptionError(f"OUT {out} is not empty: choose another folder, or replace it with --overwrite")
    if not (out / MARK).is_file():
        raise OptionError(f"OUT {out} has no {MARK}, so it is no earlier output: --overwrite does not delete it")


def _swap(folder: Path, out: Path) -> None:
    """Put the finished folder in the place of ``out``."""
    old = None
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent)) / "old"
        out.rename(old)
    folder.rename(out)
    if old:
        shutil.rmtree(old.parent)
