"""Testing a detector: threshold from validation, then numbers and pictures. Command: tools/test.py."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import init_dist, is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from medkit.apis.operating_point import Threshold, ann_file, choose, known_threshold, lesion_metric_config
from medkit.apis.results import write_results
from medkit.data.checks import check_dataset
from medkit.engine import prepare_cpu_processes
from medkit.engine.checkpoint import read_checkpoint, resolve_checkpoint
from medkit.errors import ConfigError, DatasetError, WeightsError
from medkit.evaluation.metrics import LesionMetric
from medkit.evaluation.report import IN_SAMPLE, LesionReport

__all__ = ["best_checkpoint", "check_splits", "init_distributed", "load_detector", "scoring_runner", "test"]


def test(
    cfg: Config,
    checkpoint: str | Path,
    *,
    out_dir: str | Path | None = None,
    score_thr: float | None = None,
    split: str = "test",
    keep_threshold: bool = True,
    num_tiles: int = 16,
    thresholds: str = "global",
    best: bool = False,
    num_draws: int = 1000,
) -> LesionReport | None:
    """Score a checkpoint on a split and write numbers and pictures.

    The threshold is ``score_thr``; else the one that thresholds.json beside the checkpoint keeps for it; else
    it is chosen on the validation set first, by macro F1 or per class, and kept there.

    Args:
        cfg: What `load_config` returned.
        checkpoint: Checkpoint file, or a run folder.
        out_dir: Folder for the results; default the name of the split in the checkpoint's folder (with ``_quick``
            behind it where the threshold is not kept, so that a look leaves real results alone).
        score_thr: Fixed threshold in [0, 1].
        split: 'test' or 'val'.
        keep_threshold: Write thresholds.json; False for a quick look, whose threshold means nothing.
        num_tiles: Images on the sheet of predictions; 0 draws none.
        thresholds: 'global' or 'per-class', where ``score_thr`` is not given.
        best: Of a run folder take the best checkpoint of the validation, not the last.
        num_draws: Draws of the bootstrap, by patient, that gives the intervals; 0 gives none.

    Returns:
        The report; None on the other processes of a distributed run.

    Raises:
        ConfigError, DatasetError, WeightsError: the config, the data or the weights do not fit.
    """
    checkpoint = best_checkpoint(checkpoint) if best else resolve_checkpoint(checkpoint)
    out = Path(out_dir) if out_dir is not None else checkpoint.parent / (split if keep_threshold else f"{split}_quick")
    init_distributed(cfg)
    threshold = known_threshold(cfg, checkpoint, score_thr, split, thresholds)
    needs_val = threshold is None and split != "val"
    check_splits(cfg, (split, "val") if needs_val else (split,))
    if needs_val:
        metric, _ = _score(cfg, checkpoint, "val", out, Threshold(None))
        threshold = choose(cfg, checkpoint, metric, keep_threshold, thresholds)
    metric, categories = _score(cfg, checkpoint, split, out, threshold or Threshold(None), num_draws)
    if threshold is None:
        own = choose(cfg, checkpoint, metric, keep_threshold, thresholds)
        if isinstance(own.value, dict):
            metric.rescore(own.value, f"{own.source} ({IN_SAMPLE})")
    if not is_main_process():
        return None
    category_ids = None if categories is None else {label: one["id"] for label, one in categories.items()}
    paths = [*write_results(metric, out, category_ids, num_tiles=num_tiles), *_write_categories(categories, out)]
    print_log(f"written to {out}: {', '.join(path.name for path in paths)}", logger="current")
    return metric.report


def best_checkpoint(folder: str | Path) -> Path:
    """The checkpoint of a run folder that validation found best.

    Raises:
        WeightsError: the folder has none, or several.
    """
    found = sorted(Path(folder).glob("best_*.pth"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise WeightsError(
            f"{folder} has {len(found)} best checkpoints ({names}), expected one; give the path of a .pth file instead"
        )
    return found[0]


def init_distributed(cfg: Config) -> None:
    """Start the process group before the first decision, so that all processes take the same one."""
    prepare_cpu_processes(cfg)
    if cfg.get("launcher", "none") != "none" and not is_distributed():
        init_dist(cfg.launcher, **cfg.get("env_cfg", {}).get("dist_cfg", {}))


def check_splits(cfg: Config, splits: Sequence[str]) -> None:
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
    cfg: Config, checkpoint: Path, split: str, out: Path, threshold: Threshold, num_draws: int = 0
) -> tuple[LesionMetric, dict[int, dict] | None]:
    """Run the detector over a split; return the metric and, if the data set tells, label -> category."""
    annotations = ann_file(cfg, split)
    metric_cfg = lesion_metric_config(cfg, split)
    metric_cfg.update(score_thr=threshold.value, score_thr_from=threshold.source, out_dir=None)
    metric_cfg.update(num_draws=num_draws, ann_file=None if annotations is None else str(annotations))
    runner = scoring_runner(cfg, split, metric_cfg, out, checkpoint.stem)
    load_detector(runner.model, checkpoint)
    runner.test()
    loop = runner.test_loop
    dataset = loop.dataloader.dataset
    label_of = getattr(dataset, "cat2label", None)
    if label_of is None:
        return loop.evaluator.metrics[0], None
    return loop.evaluator.metrics[0], _category_ids(label_of, dataset.metainfo["classes"], annotations)


def scoring_runner(cfg: Config, split: str, metric_cfg: dict, out: Path, name: str) -> Runner:
    """A runner whose ``test`` scores the model of ``cfg`` on a split with one metric; ``name`` is that of its logs."""
    cfg = copy.deepcopy(cfg)
    name = f"{name}_{split}_{time.time_ns()}"  # mmengine keeps loggers and the like by this name
    cfg.merge_from_dict(dict(work_dir=str(out), load_from=None, resume=False, experiment_name=name))
    if cfg.get("visualizer"):
        cfg.visualizer.name = name
    cfg.test_dataloader, cfg.test_evaluator = cfg[f"{split}_dataloader"], [metric_cfg]
    cfg.test_cfg = cfg.get("test_cfg") or ConfigDict(type="TestLoop")
    cfg.custom_hooks = []  # they serve training; a checkpoint holds averaged weights already
    return Runner.from_cfg(cfg)


def _category_ids(label_of: Mapping[int, int], classes: Sequence[str], path: Path | None) -> dict[int, dict]:
    """Label -> COCO category (id, name) for predictions.json.

    A class that several categories were merged into has none of its own, and the id of one of them would name
    that one: it gets the category of its name, where the file has one, else a new id.
    """
    merged: dict[int, list[int]] = {}
    for category, label in label_of.items():
        merged.setdefault(label, []).append(category)
    listed = json.loads(path.read_text(encoding="utf-8")).get("categories", []) if path is not None else []
    id_of = {one["name"]: one["id"] for one in listed}
    fresh = max([*label_of, *id_of.values()], default=0) + 1
    categories = {}
    for label, ids in sorted(merged.items()):
        name = classes[label]
        number = ids[0] if len(ids) == 1 else id_of.get(name, fresh + label)
        categories[label] = {"id": number, "name": name, **({"merged_from": sorted(ids)} if len(ids) > 1 else {})}
    return categories


def _write_categories(categories: dict[int, dict] | None, out: Path) -> list[Path]:
    """Where classes were merged, say under which category predictions.json has them."""
    merged = [one for one in (categories or {}).values() if "merged_from" in one]
    if not merged:
        return []
    said = "; ".join(f"{one['name']} = {one['id']} (merged from {one['merged_from']})" for one in merged)
    print_log(f"category ids in predictions.json: {said}; score it with useCats=0", logger="current")
    path = out / "categories.json"
    path.write_text(json.dumps(list((categories or {}).values()), indent=2) + "\n", encoding="utf-8")
    return [path]


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
