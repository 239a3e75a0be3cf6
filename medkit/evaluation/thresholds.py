"""thresholds.json: the score thresholds that belong to a checkpoint, kept in the checkpoint's folder.

``{"epoch_12.pth": {"score_thr": 0.35, "chosen_on": "val.json", "macro_f1": 0.61, "nearby": {"0.3": 0.59, ...},
"class_thr": {"cyst": 0.41, ...}, ..., "settings": {"img_size": 512, ...}, "checkpoint_sha256": "..."}}``.
An entry counts only while the checkpoint's bytes and the settings are those that it was chosen for. Files of
medkit before thresholds per class still load; they have the global one only. Written by tools/test.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from medkit.errors import ConfigError

from .functional import LesionEvents, choose_class_thresholds, choose_threshold

__all__ = ["StoredThreshold", "choose_thresholds", "read_threshold", "settings_of", "write_threshold"]

FILE_NAME = "thresholds.json"
PROTOCOL = "lesion"


@dataclass(frozen=True)
class StoredThreshold:
    """One entry of thresholds.json.

    Attributes:
        score_thr: Threshold in [0, 1] for all classes.
        chosen_on: Name of the annotation file that it was chosen on.
        macro_f1: Macro F1 there.
        num_images: Number of images there.
        iou_thr: Smallest IoU at which a prediction touched a lesion.
        protocol: How predictions were matched.
        checkpoint_sha256: Digest of the checkpoint file; filled in on writing.
        nearby: Threshold, as text -> macro F1 there, for neighbours on the grid: how sharp the optimum is.
        class_thr: Class -> threshold of its own; None where its F1 is 0 at every threshold, {} in older files.
        class_f1: Class -> F1 where all classes have this class's threshold.
        class_nearby: Class -> threshold, as text -> F1, at steps of .05 round its threshold.
        class_macro_f1: Macro F1 with all thresholds per class in force; None in older files.
        settings: What the scores depend on besides the weights (img_size, test_cfg); None in older files, which
            then hold for any.
    """

    score_thr: float
    chosen_on: str
    macro_f1: float
    num_images: int
    iou_thr: float = 0.25
    protocol: str = PROTOCOL
    checkpoint_sha256: str = ""
    nearby: dict[str, float] = field(default_factory=dict)
    class_thr: dict[str, float | None] = field(default_factory=dict)
    class_f1: dict[str, float] = field(default_factory=dict)
    class_nearby: dict[str, dict[str, float]] = field(default_factory=dict)
    class_macro_f1: float | None = None
    settings: dict[str, Any] | None = None

    def by_class(self) -> dict[str, float] | None:
        """Class -> threshold, the global one for a class that has none of its own; None in older files."""
        own = {name: self.score_thr if thr is None else thr for name, thr in self.class_thr.items()}
        return own or None

    def per_class(self, classes: Sequence[str]) -> list[float] | None:
        """`by_class` in the order of the classes; None also where the file was written for other classes."""
        own = self.by_class()
        return [own[name] for name in classes] if own is not None and set(own) == set(classes) else None


def settings_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config, besides the weights, the scores depend on: ``img_size`` and the model's ``test_cfg``."""
    return {"img_size": cfg.get("img_size"), "test_cfg": (cfg.get("model") or {}).get("test_cfg")}


def choose_thresholds(
    events: LesionEvents,
    classes: Sequence[str],
    *,
    chosen_on: str,
    num_images: int,
    iou_thr: float = 0.25,
    settings: Mapping[str, Any] | None = None,
) -> StoredThreshold | None:
    """Choose the global threshold and those of the classes; None where F1 is 0 at every threshold.

    Args:
        events: Outcome of `match` on the set to choose on (validation, not test).
        classes: Class names.
        chosen_on: Name of that set, for the reader.
        num_images: Its number of images.
        iou_thr: That of the matching.
        settings: What the scores depend on besides the weights.
    """
    choice = choose_threshold(events, len(classes))
    if not choice.informative:
        return None
    own = choose_class_thresholds(events, len(classes), fallback=choice.score_thr)
    return StoredThreshold(
        score_thr=choice.score_thr,
        chosen_on=chosen_on,
        macro_f1=choice.macro_f1,
        num_images=num_images,
        iou_thr=iou_thr,
        nearby=_texts(choice.nearby()),
        class_thr={n: None if np.isnan(thr) else thr for n, thr in zip(classes, own.score_thrs.tolist(), strict=True)},
        class_f1=dict(zip(classes, own.f1.tolist(), strict=True)),
        class_nearby={name: _texts(nearby) for name, nearby in zip(classes, own.nearby, strict=True)},
        class_macro_f1=own.macro_f1,
        settings=None if settings is None else dict(settings),
    )


def _texts(nearby: Mapping[float, float]) -> dict[str, float]:
    return {f"{thr:.4g}": value for thr, value in nearby.items()}


def read_threshold(
    checkpoint: str | Path, iou_thr: float = 0.25, settings: Mapping[str, Any] | None = None
) -> StoredThreshold | None:
    """The thresholds kept for a checkpoint file; None when there are none, or only some that no longer hold.

    Args:
        checkpoint: Checkpoint file.
        iou_thr: IoU of the protocol that they must have been chosen with.
        settings: Settings that they must have been chosen with; None takes any.

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
    reason = _misfit(stored, checkpoint, iou_thr, settings)
    if reason is None:
        return stored
    print_log(f"{path}: threshold {stored.score_thr:g} of {checkpoint.name} is not used: {reason}", "current")
    return None


def _misfit(
    stored: StoredThreshold, checkpoint: Path, iou_thr: float, settings: Mapping[str, Any] | None
) -> str | None:
    """Why a stored threshold does not hold; None when it does."""
    if stored.protocol != PROTOCOL or stored.iou_thr != iou_thr:
        return f"it was chosen with protocol {stored.protocol!r} and IoU {stored.iou_thr:g}"
    if stored.checkpoint_sha256 != _sha256(checkpoint):
        return "the checkpoint has changed since"
    if settings is None or stored.settings is None:
        return None
    now = json.loads(json.dumps(settings))  # as json gives it back: tuples are lists
    names = [name for name in {**now, **stored.settings} if now.get(name) != stored.settings.get(name)]
    changes = [f"{name} {stored.settings.get(name)}, now {now.get(name)}" for name in names]
    return f"it was chosen with {'; '.join(changes)}" if changes else None


def write_threshold(checkpoint: str | Path, threshold: StoredThreshold) -> Path:
    """Keep thresholds for a checkpoint file, beside those of other checkpoints; return the file's path."""
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
        raise ConfigError(f"{path} holds a {type(content).__name__}, expected one entry per checkpoint; {_CURE}")
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
