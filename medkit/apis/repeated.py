"""What commands that train a config several times share: one more training in this process, and what made a result.

Used by ``python tools/benchmark_anomaly.py`` and ``python tools/crossval.py``.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config

from medkit.apis.training import train

__all__ = ["settings_hash", "train_again"]


def train_again(cfg: Config) -> float | None:
    """Train, or go on; seconds, None where the run had been begun before."""
    folder, start = Path(cfg.work_dir), time.perf_counter()
    begun = (folder / "last_checkpoint").is_file()
    cfg.experiment_name = "_".join((*folder.parts[-2:], str(time.time_ns())))  # mmengine keeps loggers by this name
    if cfg.get("visualizer"):
        cfg.visualizer.name = cfg.experiment_name
    train(cfg, resume=True)
    return None if begun else time.perf_counter() - start


def settings_hash(cfg: Config, *facts: Any) -> str:
    """What must agree for a result to be the same: the resolved config but for its folder, and ``facts``."""
    plain = {key: value for key, value in cfg.to_dict().items() if key != "work_dir"}
    return hashlib.sha1(repr((plain, *facts)).encode(), usedforsecurity=False).hexdigest()
