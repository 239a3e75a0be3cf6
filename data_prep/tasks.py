"""What a worker does: look at a chunk of files, write a chunk of images. Trouble with one image never leaves it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .probe import Probe, probe
from .writing import WriteJob, Written, write_image

DIGEST_SIZE = 16


@dataclass(frozen=True)
class Outcome:
    """What became of one image: how it was written, or why not; and the facts of its files."""

    written: Written | None
    fault: str = ""
    files: tuple[tuple[str, int, int], ...] = ()  # (path, size, time in ns)


def look_chunk(files: Sequence[tuple[str, int | None]], min_size: int) -> tuple[list[Probe], bytes]:
    """Probes of the (path, frame), and their thumbnails one after the other: 4096 bytes each, zeros where none is."""
    found = [_look(path, frame, min_size) for path, frame in files]
    thumbs = b"".join(one.thumb or bytes(4096) for one in found)
    return [replace(one, thumb=b"") for one in found], thumbs


def _look(path: str, frame: int | None, min_size: int) -> Probe:
    try:
        return probe(path, min_size, *(() if frame is None else (frame,)))
    except Exception as error:  # a decoder may raise anything on a broken file; the report names it
        return Probe(fault=("examination_failed", said(error)))


def write_chunk(jobs: Sequence[tuple[WriteJob, bytes]]) -> list[Outcome]:
    """Write images; each comes with the digest that its file had when it was looked at."""
    return [_write(job, digest) for job, digest in jobs]


def _write(job: WriteJob, digest: bytes) -> Outcome:
    targets = [Path(path) for path in (job.target, job.mask_target) if path]
    try:
        try:
            data = Path(job.source).read_bytes()
        except FileNotFoundError:
            return Outcome(None, "the file has vanished since it was looked at")
        if hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest() != digest:
            return Outcome(None, "the file has changed since it was looked at")
        written = write_image(job)
        facts = [(path, path.stat()) for path in targets if path.exists()]
        return Outcome(written, "", tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in facts))
    except Exception as error:  # a full disk, a decoder: this image is not written, the others are
        for path in targets:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        return Outcome(None, said(error))


def said(error: Exception) -> str:
    """An error in one line, without the path of an output that has another name later."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
