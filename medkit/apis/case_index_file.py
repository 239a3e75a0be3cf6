"""The file of a `CaseIndex`: a NumPy archive of the codes and, as json, everything else; written whole or not at all.

Every part of the archive carries a checksum, which is compared when it is read. Nothing in it is code.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.cases import Case, ModelFingerprint
from medkit.errors import DatasetError

__all__ = ["read_index", "write_index"]

_FORMAT = 1
_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
_COLUMNS = tuple(field.name for field in fields(Case))


def write_index(
    path: Path, codes: np.ndarray, cases: Sequence[Case], fingerprint: ModelFingerprint, settings: Mapping[str, Any]
) -> Path:
    """Write beside the target and rename.

    Raises:
        DatasetError: the folder cannot be written to.
    """
    columns = {name: [getattr(case, name) for case in cases] for name in _COLUMNS}
    notes = {"format": _FORMAT, "fingerprint": asdict(fingerprint), "cases": columns, **settings}
    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.savez(file, codes=codes, notes=text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise DatasetError(f"index {path} cannot be written: {error.strerror}; give another file") from error
    finally:
        with suppress(OSError):  # its folder may be none
            draft.unlink(missing_ok=True)
    return path


def read_index(path: Path) -> dict[str, Any]:
    """Arguments of `CaseIndex`.

    Raises:
        DatasetError: no such file, or it is damaged, no index, or of a later medkit.
    """
    if not path.is_file():
        raise DatasetError(f"index {path} does not exist; make it with `python tools/retrieve.py build`")
    try:
        with np.load(path, allow_pickle=False) as archive:
            codes, notes = archive["codes"], json.loads(archive["notes"].tobytes())
        if notes["format"] != _FORMAT:
            raise DatasetError(f"index {path} has format {notes['format']}; this medkit reads {_FORMAT}: update it")
        columns = [notes["cases"][name] for name in _COLUMNS]
        cases = [Case(*values) for values in zip(*columns, strict=True)]
        fingerprint = ModelFingerprint(**notes["fingerprint"])
        found = dict(codes=codes, cases=cases, fingerprint=fingerprint, metric=notes["metric"], about=notes["about"])
    except _BROKEN as error:
        why = f"{type(error).__name__}: {str(error)[:120]}"
        raise DatasetError(f"index {path} is damaged, or no index ({why}); build it anew, or take a copy") from error
    if codes.ndim != 2 or len(codes) != len(cases):
        raise DatasetError(f"index {path} is damaged: codes {codes.shape} for {len(cases)} cases; build it again")
    return found
