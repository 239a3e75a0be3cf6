"""The output folder appears as a whole at the end of a run, or not at all; an interrupted run is taken up again."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .errors import DataPrepError, InterruptedRun, OptionError
from .options import NO_INFLUENCE, Options
from .records import Record
from .store import WorkFolder, delete

MARK = "summary.json"  # the file by which an earlier output is known
LIBRARIES = ("numpy", "opencv-python", "opencv-python-headless", "pillow", "pydicom")


def check_nesting(out: Path, export: Path) -> None:
    """Refuse an output folder that lies in the export or round it."""
    target, source = out.resolve(), export.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise OptionError(f"OUT {out} and EXPORT {export} lie in each other: choose an output folder beside the export")


def check_target(out: Path, overwrite: bool) -> None:
    """Refuse an output folder that would lose or mix files."""
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


def fingerprint(export: Path, options: Options, records: Sequence[Record], chunk: int) -> dict:
    """Everything on which the bytes of the output depend; two runs with the same one may share their work."""
    inputs = hashlib.sha256()
    for record in records:
        inputs.update(repr(record).encode("utf-8", "backslashreplace"))
        try:
            stat = record.path.stat()
            inputs.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
        except (OSError, ValueError):
            inputs.update(b"none\n")
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return {
        "export": str(export.resolve()),
        "options": {name: repr(value) for name, value in values.items() if name not in NO_INFLUENCE},
        "inputs": inputs.hexdigest(),
        "code": code_digest(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "chunk": chunk,
    }


@cache
def code_digest() -> str:
    """SHA-256 over the source of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


@contextmanager
def claimed(out: Path, own: dict, overwrite: bool, say: Callable[[str], None]) -> Iterator[WorkFolder | None]:
    """Give the locked work folder, with what an interrupted run of the same fingerprint left in it.

    Gives None when that run was complete but for its last steps, which are then done here. When the body refuses
    (a `DataPrepError` that is no `InterruptedRun`) the folder goes; after any other end it stays for the next run.
    """
    work = WorkFolder(out)
    new = not work.path.exists()
    with _made_parents(out):
        work.lock()
        try:
            state = work.state()
            same = state.get("fingerprint") == own
            if same and state.get("state") == "finished" and (work.result.exists() or (work.out / MARK).is_file()):
                if work.result.exists():
                    _swap(work)
                if not state.get("missing"):
                    work.remove()
                    yield None
                    return
                state["replace"] = True
            replace = _same_command(state, own) and bool(state.get("replace"))
            check_target(out, overwrite or replace)
            new = True
            _begin(work, own, same, replace, say)
            yield work
        except DataPrepError as error:
            if new and not isinstance(error, InterruptedRun):
                work.remove()
            raise
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
            raise InterruptedRun(f"cannot read or write: {what}") from error
        finally:
            work.unlock()


@contextmanager
def _made_parents(out: Path) -> Iterator[None]:
    """Remove again, when the body refuses, the folders above ``out`` that had to be made."""
    made = [folder for folder in out.resolve().parents if not folder.exists()]
    try:
        yield
    except DataPrepError:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _same_command(state: dict, own: dict) -> bool:
    before = state.get("fingerprint") or {}
    return all(before.get(name) == own[name] for name in ("export", "options"))


def _begin(work: WorkFolder, own: dict, same: bool, replace: bool, say: Callable[[str], None]) -> None:
    """Make the folder ready; what does not fit is discarded, with a line that says why."""
    before = work.state().get("fingerprint")
    if not same:
        if before:
            say(f"{work.path} of an interrupted run does not fit ({_difference(before, own)}) and is discarded")
        work.set_state({})
        work.clear()
    work.set_state({"fingerprint": own, "state": "working", "replace": replace})
    work.result.mkdir(exist_ok=True)


def _difference(before: dict, own: dict) -> str:
    """Which options, or else which parts of the fingerprint, differ."""
    theirs, mine = before.get("options", {}), own["options"]
    options = [f"{name} {theirs.get(name)} -> {mine[name]}" for name in mine if theirs.get(name) != mine[name]]
    parts = [f"other {name}" for name in own if name != "options" and before.get(name) != own[name]]
    return ", ".join(options + parts)


def finish(work: WorkFolder, missing: int) -> None:
    """Put the result in the place of OUT; with images missing the work folder stays for the next try."""
    state = work.state()
    work.set_state({**state, "state": "finished", "missing": missing})
    _swap(work)
    if missing:
        work.set_state({**state, "state": "incomplete", "missing": missing, "replace": True})
    else:
        work.remove()


def _swap(work: WorkFolder) -> None:
    """Put the finished folder in the place of OUT."""
    if work.out.exists():
        delete(work.old)
        work.out.rename(work.old)
    work.result.rename(work.out)
    delete(work.old)


def sweep(folder: Path, wanted: set[str]) -> None:
    """Delete all files of a growing result that are not wanted (relative paths), and folders that become empty."""
    for name, _, files in os.walk(folder, topdown=False):
        path = Path(name)
        for file in files:
            if (path / file).relative_to(folder).as_posix() not in wanted:
                (path / file).unlink()
        if path != folder and not any(path.iterdir()):
            path.rmdir()
