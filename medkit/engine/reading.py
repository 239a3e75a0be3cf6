"""Checkpoints: finding them, and reading them without running code that they may carry.

``python tools/test.py CONFIG CHECKPOINT`` and the other tools take a file or a run folder as CHECKPOINT.
"""

import codecs
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from medkit.errors import WeightsError

_FOREIGN_OBJECT = re.compile(r"Unsupported (?:global: GLOBAL|attribute:) (\S+(?: of \S+)?)")  # torch's words


def resolve_checkpoint(path: str | Path) -> Path:
    """The checkpoint file that ``path`` means: itself, or what a run folder's ``last_checkpoint`` names.

    The name in ``last_checkpoint`` is looked up in the folder itself, so a moved or copied run folder works.

    Raises:
        WeightsError: there is no such file.
    """
    if "://" in str(path):
        raise WeightsError(
            f"checkpoint {path} is a URL; download it first, or use init_cfg=dict(type='Pretrained', ...)"
        )
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"checkpoint {path} does not exist; {_how_to_make(path)}")
    pointer = path / "last_checkpoint"
    if not pointer.is_file():
        found = ", ".join(sorted(file.name for file in path.glob("*.pth"))) or "none"
        raise WeightsError(
            f"{path} has no file `last_checkpoint` (checkpoints in it: {found}); name a .pth file, or "
            f"{_how_to_make(path)}"
        )
    named = pointer.read_text().strip().replace("\\", "/").rsplit("/", 1)[-1]
    if not (path / named).is_file() or not named:
        raise WeightsError(
            f"{pointer} names {named!r}, which is not in that folder; name a .pth file instead"
        )
    return path / named


def _how_to_make(path: Path) -> str:
    folder = path if not path.suffix else path.parent
    if folder.parent.name == "work_dirs":
        return f"make it with `python tools/train.py configs/{folder.name}.py`, or give another path"
    return "give the path of a .pth file or of a run folder that holds one"


def read_checkpoint(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU without running code that it may carry.

    Args:
        path: file or run folder, see `resolve_checkpoint`.
        trust: also accept files that hold arbitrary Python objects. Reading such a file can run any code: set
            it only for files whose origin you know.

    Raises:
        WeightsError: missing or unreadable file, or objects that are not on the list of harmless ones.
    """
    path = resolve_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_harmless_types()):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, OSError) as error:
        found = _FOREIGN_OBJECT.search(str(error))
        if found is None:
            raise WeightsError(
                f"checkpoint {path} is damaged or no torch checkpoint; give another one"
            ) from error
        raise WeightsError(
            f"checkpoint {path} holds Python objects beyond weights ({found[1]}); if you know where it comes "
            "from, load it with trust=True"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"checkpoint {path} holds a {type(content).__name__}; expected a dict of weights")
    return dict(content)


def _harmless_types() -> list:
    """What mmengine's checkpoints hold besides tensors and plain values: log histories and NumPy numbers."""
    core = np._core if hasattr(np, "_core") else np.core
    dtypes = [
        type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint8", "uint32", "float32", "float64")
    ]
    arrays = [core.multiarray._reconstruct, core.multiarray.scalar, np.ndarray, np.dtype, codecs.encode]
    return [HistoryBuffer, slice, *arrays, *dtypes, (_history_method, "builtins.getattr")]


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for ``getattr``, by which pickle names the methods ``HistoryBuffer.min`` and so on."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"Unsupported attribute: {name} of {getattr(owner, '__name__', owner)}")
    return getattr(owner, name)
