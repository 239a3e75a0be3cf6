"""Which score threshold a test uses: given, kept in thresholds.json, or chosen on validation. Used by testing.py."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from medkit.data.checks import dataset_configs
from medkit.errors import ConfigError
from medkit.evaluation.metrics import LesionMetric
from medkit.evaluation.report import IN_SAMPLE
from medkit.evaluation.thresholds import (
    StoredThreshold,
    choose_thresholds,
    read_threshold,
    settings_of,
    write_threshold,
)

__all__ = ["KINDS", "Threshold", "ann_file", "choose", "known_threshold", "lesion_metric_config"]

KINDS = ("global", "per-class")


@dataclass(frozen=True)
class Threshold:
    """A threshold, or one per class, with its origin; ``value`` None is 'choose it on the set that is scored'."""

    value: float | dict[str, float] | None
    source: str = ""


def known_threshold(cfg: Config, checkpoint: Path, score_thr: float | None, split: str, kind: str) -> Threshold | None:
    """The threshold that needs no choosing, the same on every process."""
    if score_thr is not None:
        return Threshold(score_thr, "given by the user")
    found: list[Threshold | None] = [None]
    if is_main_process():
        iou_thr = lesion_metric_config(cfg, split).get("iou_thr", 0.25)
        stored = read_threshold(checkpoint, iou_thr, settings_of(cfg))
        found = [None if stored is None else _of_kind(stored, kind, _ann_name(cfg, split))]
    broadcast_object_list(found)
    return found[0]


def _of_kind(stored: StoredThreshold, kind: str, scored: str) -> Threshold | None:
    """What is stored, with words; None if it lacks the thresholds per class that are asked for."""
    value: float | dict[str, float] | None = stored.score_thr if kind == "global" else stored.by_class()
    if value is None:
        print_log("thresholds.json is of an older medkit and has none per class; they are chosen now", "current")
        return None
    source = f"{_prefix(kind)}from thresholds.json, chosen on {stored.chosen_on}"
    return Threshold(value, f"{source} ({IN_SAMPLE})" if stored.chosen_on == scored else source)


def choose(cfg: Config, checkpoint: Path, metric: LesionMetric, keep: bool, kind: str) -> Threshold:
    """Choose the thresholds on what a metric has just scored, the validation set; keep them beside the checkpoint."""
    report = metric.report
    if report is None:  # another process holds it, and that one alone uses it
        return Threshold(None)
    name, num = _ann_name(cfg, "val"), report.num_images
    stored = choose_thresholds(
        report.matches.events,
        report.classes,
        chosen_on=name,
        num_images=num,
        iou_thr=report.iou_thr,
        settings=settings_of(cfg),
    )
    if stored is None:
        source = f"not chosen on {name}: F1 is 0 at every threshold there; the highest of the grid, not kept, no use"
        return Threshold(report.score_thr, source)
    source = f"{_prefix(kind)}chosen on {name} by macro F1 {stored.macro_f1:.4f} of {num} images"
    if kind != "global":
        source = (
            f"per class, chosen on {name} by the F1 of each class, {num} images (macro F1 there "
            f"{stored.class_macro_f1:.4f}; with the global {stored.score_thr:.2f}: {stored.macro_f1:.4f})"
        )
    if keep:
        try:
            source += f", kept in {write_threshold(checkpoint, stored).name}"
        except OSError as error:
            print_log(f"threshold not kept beside the checkpoint: {error}", logger="current", level=30)
    return Threshold(stored.score_thr if kind == "global" else stored.by_class(), source)


def _prefix(kind: str) -> str:
    return "" if kind == "global" else "per class, "


def lesion_metric_config(cfg: Config, split: str) -> ConfigDict:
    """The config's LesionMetric, from the evaluator of the split or of the other one."""
    for name in (f"{split}_evaluator", "val_evaluator", "test_evaluator"):
        found = cfg.get(name) or []
        for one in found if isinstance(found, (list, tuple)) else [found]:
            if str(one.get("type")).rsplit(".", 1)[-1] == "LesionMetric":
                return copy.deepcopy(one)
    raise ConfigError(
        f"{cfg.filename} has no LesionMetric; set test_evaluator=dict(type='medkit.LesionMetric') and put "
        "'instances' into the meta_keys of PackDetInputs"
    )


def ann_file(cfg: Config, split: str) -> Path | None:
    """Annotation file of a split; None where several are joined, whose image ids may repeat."""
    leaves = dataset_configs(cfg)[f"{split}_dataloader"]
    if len(leaves) != 1 or not leaves[0].get("ann_file"):
        return None
    return Path(leaves[0].get("data_root") or "") / leaves[0].ann_file


def _ann_name(cfg: Config, split: str) -> str:
    return Path(dataset_configs(cfg)[f"{split}_dataloader"][0].get("ann_file", "")).name
