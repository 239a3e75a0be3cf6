"""Cross-validation of whatever a config trains: volumes or bags. Command: ``python tools/crossval.py CONFIG ...``."""

from __future__ import annotations

from medkit.apis.crossval_run import CrossvalSettings, fold_config
from medkit.data.checks import dataset_configs
from medkit.errors import ConfigError

__all__ = ["cross_validate"]


def cross_validate(settings: CrossvalSettings) -> tuple[str, str]:
    """Train, evaluate and write everything; returns the Markdown and the names of the files.

    Raises:
        ConfigError: the first config is neither of volumes nor of bags; see `run_crossval`, `run_bag_crossval`.
    """
    cfg = fold_config(settings, settings.configs[0], 0)
    types = sorted({str(one.type) for leaves in dataset_configs(cfg).values() for one in leaves})
    if all(name.endswith("VolumeDataset") for name in types):
        from medkit.apis.crossval import run_crossval
        from medkit.apis.crossval_report import write_crossval

        text = write_crossval(run_crossval(settings), settings)
        return text, "table.md, scores.csv, results.json, codes.png, slices_*.png"
    if all(name.endswith("BagDataset") for name in types):
        from medkit.apis.bag_crossval import run_bag_crossval
        from medkit.apis.bag_crossval_report import write_bag_crossval

        text = write_bag_crossval(run_bag_crossval(settings), settings)
        return text, "table.md, scores.csv, predictions.csv, results.json"
    raise ConfigError(
        f"{settings.configs[0]} reads {', '.join(types)}; cross-validation is for medkit.VolumeDataset, "
        "medkit.BagDataset and medkit.ImageBagDataset"
    )
