"""Testing a detector: threshold from validation, then numbers and pictures. Command: tools/test.py."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import broadcast_object_list, init_dist, is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from medkit.apis.results import write_results
from medkit.data.checks import check_dataset, dataset_configs
from medkit.engine import prepare_cpu_processes
from medkit.engine.checkpoint import read_checkpoint, resolve_checkpoint
from medkit.errors import ConfigError, DatasetError, WeightsError
from medkit.evaluation.metrics import LesionMetric
from medkit.evaluation.report import IN_SAMPLE, LesionReport
from medkit.evaluation.thresholds import StoredThreshold, read_threshold, write_threshold

__all__ = ["load_detector", "test"]


@dataclass(frozen=True)
class Threshold:
    """A threshold with its origin; ``value`` None stands for 'choose it on the set that is scored'."""

    value: float | None
    source: str = ""


def test(
    cfg: Config,
    checkpoint: str | Path,
    *,
    out_dir: str | Path | None = None,
    score_thr: float | None = None,
    split: str = "test",
    keep_threshold: bool = True,
    num_tiles: int = 16,
) -> LesionReport | None:
    """Score a checkpoint on a split and write numbers and pictures.

    The threshold is ``score_thr``; else the one that thresholds.json beside the checkpoint keeps for it; else
    it is chosen on the validation set first, by macro F1, and kept there.

    Args:
        cfg: What `load_config` returned.
        checkpoint: Checkpoint file, or a run folder.
        out_dir: Folder for the results; default the name of the split in the checkpoint's folder (with ``_quick``
            behind it where the threshold is not kept, so that a look leaves real results alone).
        score_thr: Fixed threshold in [0, 1].
        split: 'test' or 'val'.
        keep_threshold: Write thresholds.json; False for a quick look, whose threshold means nothing.
        num_tiles: Images on the sheet of predictions; 0 draws none.

    Returns:
        The report; None on the other processes of a distributed run.

    Raises:
        ConfigError, DatasetError, WeightsError: the config, the data or the weights do not fit.
    """
    checkpoint = resolve_checkpoint(checkpoint)
    out = Path(out_dir) if out_dir is not None else checkpoint.parent / (split if keep_threshold else f"{split}_quick")
    _init_distributed(cfg)
    threshold = _known_threshold(cfg, checkpoint, score_thr, split)
    needs_val = threshold is None and split != "val"
    _check(cfg, (split, "val") if needs_val else (split,))
    if needs_val:
        metric, _ = _score(cfg, checkpoint, "val", out, Threshold(None))
        threshold = _chosen(cfg, checkpoint, metric, keep_threshold)
    metric, category_ids = _score(cfg, checkpoint, split, out, threshold or Threshold(None))
    if threshold is None:
        _chosen(cfg, checkpoint, metric, keep_threshold)
    if not is_main_process():
        return None
    paths = write_results(metric, out, category_ids, num_tiles=num_tiles)
    print_log(f"written to {out}: {', '.join(path.name for path in paths)}", logger="current")
    return metric.report


def _init_distributed(cfg: Config) -> None:
    """Start the process group before the first decision, so that all processes take the same one."""
    prepare_cpu_processes(cfg)
    if cfg.get("launcher", "none") != "none" and not is_distributed():
        init_dist(cfg.launcher, **cfg.get("env_cfg", {}).get("dist_cfg", {}))


def _known_threshold(cfg: Config, checkpoint: Path, score_thr: float | None, split: str) -> Threshold | None:
    """The threshold that needs no choosing, the same on every process."""
    if score_thr is not None:
        return Threshold(score_thr, "given by the user")
    found: list[Threshold | None] = [None]
    if is_main_process():
        stored = read_threshold(checkpoint, _lesion_metric_config(cfg, split).get("iou_thr", 0.25))
        if stored is not None:
            source = f"from thresholds.json, chosen on {stored.chosen_on}"
            if stored.chosen_on == _ann_name(cfg, split):
                source += f" ({IN_SAMPLE})"
            found = [Threshold(stored.score_thr, source)]
    broadcast_object_list(found)
    return found[0]


def _chosen(cfg: Config, checkpoint: Path, metric: LesionMetric, keep: bool) -> Threshold:
    """Take the threshold of a metric that has chosen one, and keep it beside the checkpoint."""
    report = metric.report
    if report is None:  # another process holds it, and that one alone uses it
        return Threshold(None)
    name = _ann_name(cfg, "val")
    source = f"chosen on {name} by macro F1 {report.table.macro_f1:.4f} of {report.num_images} images"
    if not report.informative:
        return Threshold(report.score_thr, f"{source}, where F1 is 0 at every threshold: not fit for use")
    if keep:
        stored = StoredThreshold(
            report.score_thr, name, report.table.macro_f1, report.num_images, report.iou_thr
        )
        try:
            source += f", kept in {write_threshold(checkpoint, stored).name}"
        except OSError as error:
            print_log(f"threshold not kept beside the checkpoint: {error}", logger="current", level=30)
    return Threshold(report.score_thr, source)


def _check(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse what would stop the run half-way."""
    for split in splits:
        if cfg.get(f"{split}_dataloader") is None:
            raise ConfigError(
                f"{cfg.filename} has no {split}_dataloader, so there is nothing to score on {split}"
            )
    problems = check_dataset(cfg, tuple(dict.fromkeys(splits)))
    if problems:
        raise DatasetError("\n       ".join(problems))


def _score(
    cfg: Config, checkpoint: Path, split: str, out: Path, threshold: Threshold
) -> tuple[LesionMetric, dict[int, int] | None]:
    """Run the detector over a split; return the metric and, if the data set tells, label -> category id."""
    cfg = copy.deepcopy(cfg)
    metric_cfg = _lesion_metric_config(cfg, split)
    metric_cfg.update(score_thr=threshold.value, score_thr_from=threshold.source, out_dir=None)
    name = f"{checkpoint.stem}_{split}_{time.time_ns()}"  # mmengine keeps loggers and the like by this name
    cfg.merge_from_dict(dict(work_dir=str(out), load_from=None, resume=False, experiment_name=name))
    if cfg.get("visualizer"):
        cfg.visualizer.name = name
    cfg.test_dataloader, cfg.test_evaluator = cfg[f"{split}_dataloader"], [metric_cfg]
    cfg.test_cfg = cfg.get("test_cfg") or ConfigDict(type="TestLoop")
    cfg.custom_hooks = []  # they serve training; a checkpoint holds averaged weights already
    runner = Runner.from_cfg(cfg)
    load_detector(runner.model, checkpoint)
    runner.test()
    loop = runner.test_loop
    category_of = getattr(loop.dataloader.dataset, "cat2label", None)
    return loop.evaluator.metrics[0], None if category_of is None else _inverse(category_of)


def _inverse(label_of: dict[int, int]) -> dict[int, int]:
    """Label -> the first category id that has it; several have the same one where classes were merged."""
    inverse: dict[int, int] = {}
    for category, label in label_of.items():
        inverse.setdefault(label, category)
    return inverse


def _lesion_metric_config(cfg: Config, split: str) -> ConfigDict:
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


def _ann_name(cfg: Config, split: str) -> str:
    return Path(dataset_configs(cfg)[f"{split}_dataloader"][0].get("ann_file", "")).name


def load_detector(model: nn.Module, checkpoint: str | Path) -> None:
    """Load a whole detector and insist that every weight fits; mmengine would go on with what matches.

    Raises:
        WeightsError: the checkpoint is of another model.
    """
    if is_model_wrapper(model):
        model = model.get_submodule("module")
    content = read_checkpoint(checkpoint)
    weights = {name.removeprefix("module."): w for name, w in content.get("state_dict", content).items()}
    wanted = {n: w for n, w in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in weights]
    misfit = [n for n, w in wanted.items() if n in weights and weights[n].shape != w.shape]
    unexpected = [n for n in weights if n not in wanted and not n.endswith("num_batches_tracked")]
    if missing or misfit or unexpected:
        counts = ((missing, "missing"), (misfit, "of another shape"), (unexpected, "unexpected"))
        parts = [f"{len(names)} {what} (first: {names[0]})" for names, what in counts if names]
        raise WeightsError(
            f"{checkpoint} does not fit the config's model: {', '.join(parts)}; test a checkpoint with the "
            "config that trained it"
        )
    model.load_state_dict(weights, strict=False)
