"""What an interrupted run leaves for the next: `.OUT.work` beside OUT, with logs, thumbnails and the result so far."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OptionError
from .probe import THUMB

THUMB_BYTES = THUMB * THUMB
HEAD = struct.Struct("<QI")  # length and CRC-32 of the entry that follows
STATE = "run.json"
LOCK = "lock"


class Log:
    """Append-only file of pickled entries with length and checksum; an end that a killed run left torn is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0

    def read(self) -> Iterator[Any]:
        """Yield the entries and cut off what follows the last whole one."""
        if not self.path.exists():
            return
        with self.path.open("rb") as handle:
            while len(head := handle.read(HEAD.size)) == HEAD.size:
                length, checksum = HEAD.unpack(head)
                data = handle.read(length)
                if len(data) < length or zlib.crc32(data) != checksum:
                    break
                self.end = handle.tell()
                yield pickle.loads(data)
        os.truncate(self.path, self.end)

    def append(self, entry: Any) -> None:
        """Add one entry, whole or (on a full disk, which raises OSError) not at all."""
        data = pickle.dumps(entry, protocol=5)
        rest = memoryview(HEAD.pack(len(data), zlib.crc32(data)) + data)
        length = len(rest)
        with self.path.open("ab", buffering=0) as handle:
            try:
                while rest:
                    rest = rest[handle.write(rest) :]
            except OSError:
                os.truncate(handle.fileno(), self.end)
                raise
        self.end += length


class Thumbs:
    """Thumbnails of all records in one file, row by row, so that they need no memory."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        with path.open("ab") as handle:
            handle.truncate(count * THUMB_BYTES)

    def write(self, row: int, data: bytes) -> None:
        """Put consecutive thumbnails from row ``row`` on."""
        with self.path.open("r+b") as handle:
            handle.seek(row * THUMB_BYTES)
            handle.write(data)

    def read(self, row: int, count: int) -> bytes:
        """The bytes of consecutive thumbnails."""
        with self.path.open("rb") as handle:
            handle.seek(row * THUMB_BYTES)
            return handle.read(count * THUMB_BYTES)

    def select(self, rows: Sequence[int], name: str = "selected.u8") -> np.ndarray:
        """Some rows, in order, as a read-only array (N, 64, 64) uint8 that lies on the disk."""
        if not rows:
            return np.zeros((0, THUMB, THUMB), np.uint8)
        target = self.path.with_name(name)
        with self.path.open("rb") as source, target.open("wb") as handle:
            for row in rows:
                source.seek(row * THUMB_BYTES)
                handle.write(source.read(THUMB_BYTES))
        return np.memmap(target, np.uint8, "r", shape=(len(rows), THUMB, THUMB))


class WorkFolder:
    """The folder ``.OUT.work``, locked as long as this process uses it.

    Attributes:
        path: the folder.
        result: what becomes OUT.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self.path = self.out.with_name(f".{self.out.name}.work")
        self._lock: int | None = None

    @property
    def result(self) -> Path:
        """Folder that becomes OUT; its name holds a part of the fingerprint, so no other run's leftover gets in."""
        digest = zlib.crc32(json.dumps(self.state().get("fingerprint"), sort_keys=True).encode())
        return self.path / f"result-{digest:08x}"

    @property
    def old(self) -> Path:
        """Where an earlier OUT waits while the new one takes its place."""
        return self.path / "old"

    def lock(self) -> None:
        """Take the folder for this process; a dead process holds no lock.

        Raises:
            OptionError: a living process works on the same output.
        """
        while self._lock is None:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(handle, 100, 0).decode(errors="replace").strip()
                os.close(handle)
                raise OptionError(
                    f"another run ({owner or 'unknown'}) writes OUT {self.out}: wait for it, or choose another OUT"
                ) from None
            if _same_file(handle, self.path / LOCK):  # else the other run removed the folder in between
                os.truncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
                self._lock = handle
            else:
                os.close(handle)

    def unlock(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def state(self) -> dict:
        """Content of run.json: fingerprint, state (working, finished or incomplete); {} when there is none."""
        try:
            content = json.loads((self.path / STATE).read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def set_state(self, content: dict) -> None:
        """Replace run.json, whole."""
        temporary = self.path / f"{STATE}.part"
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(self.path / STATE)

    def holds(self, path: str, size: int, time_ns: int) -> bool:
        """Is a written file still as it was? A file that moved on into OUT is linked back."""
        here = Path(path)
        there = self.out / here.relative_to(self.result)
        for file in (here, there):
            try:
                stat = file.stat()
            except OSError:
                continue
            if (stat.st_size, stat.st_mtime_ns) != (size, time_ns):
                continue
            return file is here or _linked(there, here)
        return False

    def clear(self) -> None:
        """Remove what earlier runs left, but for the lock and run.json; an OUT that waits in ``old`` goes back."""
        if self.old.exists() and not self.out.exists():
            self.old.rename(self.out)
        for path in self.path.iterdir():
            if path.name not in (LOCK, STATE):
                delete(path)

    def remove(self) -> None:
        """Remove the folder and let go of the lock."""
        self.clear()
        for name in (STATE, LOCK):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()
        self.unlock()


def _linked(there: Path, here: Path) -> bool:
    here.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(there, here)
    except OSError:  # a file system without links: the file is written again
        return False
    return True


def delete(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _same_file(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
