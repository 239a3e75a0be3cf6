"""thresholds.json: the score threshold that belongs to a checkpoint, kept in the checkpoint's folder.

``{"epoch_12.pth": {"score_thr": 0.35, "chosen_on": "val.json", "macro_f1": 0.61, "num_images": 812,
"iou_thr": 0.25, "protocol": "lesion", "checkpoint_sha256": "..."}}``. An entry counts only while the
checkpoint's bytes are those that it was chosen for. Written by tools/test.py.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mmengine.logging import print_log

from medkit.errors import ConfigError

__all__ = ["StoredThreshold", "read_threshold", "write_threshold"]

FILE_NAME = "thresholds.json"
PROTOCOL = "lesion"


@dataclass(frozen=True)
class StoredThreshold:
    """One entry of thresholds.json.

    Attributes:
        score_thr: Threshold in [0, 1].
        chosen_on: Name of the annotation file that it was chosen on.
        macro_f1: Macro F1 there.
        num_images: Number of images there.
        iou_thr: Smallest IoU at which a prediction touched a lesion.
        protocol: How predictions were matched.
        checkpoint_sha256: Digest of the checkpoint file; filled in on writing.
    """

    score_thr: float
    chosen_on: str
    macro_f1: float
    num_images: int
    iou_thr: float = 0.25
    protocol: str = PROTOCOL
    checkpoint_sha256: str = ""


def read_threshold(checkpoint: str | Path, iou_thr: float = 0.25) -> StoredThreshold | None:
    """The threshold kept for a checkpoint file; None when there is none, or only one that no longer holds.

    Raises:
        ConfigError: thresholds.json cannot be understood.
    """
    checkpoint = Path(checkpoint)
    path = checkpoint.parent / FILE_NAME
    entry = _read(path).get(checkpoint.name)
    if entry is None:
        return None
    known = {field.name for field in fields(StoredThreshold)}
    try:
        stored = StoredThreshold(**{name: value for name, value in entry.items() if name in known})
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: entry {checkpoint.name} is incomplete ({error}); {_CURE}") from error
    if stored.protocol != PROTOCOL or stored.iou_thr != iou_thr:
        reason = f"it was chosen with protocol {stored.protocol!r} and IoU {stored.iou_thr:g}"
    elif stored.checkpoint_sha256 != _sha256(checkpoint):
        reason = "the checkpoint has changed since"
    else:
        return stored
    print_log(f"{path}: threshold {stored.score_thr:g} of {checkpoint.name} is not used: {reason}", "current")
    return None


def write_threshold(checkpoint: str | Path, threshold: StoredThreshold) -> Path:
    """Keep a threshold for a checkpoint file, beside those of other checkpoints; return the file's path."""
    checkpoint = Path(checkpoint)
    path = checkpoint.parent / FILE_NAME
    content = _read(path)
    content[checkpoint.name] = {**asdict(threshold), "checkpoint_sha256": _sha256(checkpoint)}
    draft = path.with_name(f".{FILE_NAME}.part")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


_CURE = "delete the file, tools/test.py writes it again"


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); {_CURE}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds a {type(content).__name__}, expected one entry per checkpoint; {_CURE}"
        )
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
