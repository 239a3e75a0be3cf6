"""Testing a classifier of bags on a split: numbers by patient with intervals, and a table of the bags.

Command: ``python tools/test.py configs/abmil_slides.py work_dirs/abmil_slides --best``.
"""

from __future__ import annotations

import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from medkit.apis.testing import best_checkpoint, check_splits, init_distributed, scoring_runner
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.engine.loading import load_whole
from medkit.evaluation.tables import without_nan, write_json

__all__ = ["judges_bags", "test_bags"]


def judges_bags(cfg: Config, split: str) -> bool:
    """Whether the config's evaluator is a `medkit.BagMetric`."""
    return _metric_config(cfg, split) is not None


def test_bags(
    cfg: Config,
    checkpoint: str | Path,
    *,
    out_dir: str | Path | None = None,
    split: str = "test",
    best: bool = False,
    num_draws: int = 1000,
    quick: bool = False,
) -> dict[str, float] | None:
    """Score a checkpoint on a split; write metrics.json and bags.csv.

    Args:
        cfg: what `load_config` returned.
        checkpoint: checkpoint file, or a run folder.
        out_dir: folder for the results; default the name of the split in the checkpoint's folder.
        split: 'test' or 'val', the loader of the config.
        best: of a run folder take the best checkpoint of the validation, not the last.
        num_draws: draws of patients for the intervals; 0 gives none.
        quick: a look at a few bags; the default folder is another, so that real results stay.

    Returns:
        The numbers; None on the other processes of a distributed run.

    Raises:
        ConfigError, DatasetError, WeightsError: the config, the data or the weights do not fit.
    """
    checkpoint = best_checkpoint(checkpoint) if best else resolve_checkpoint(checkpoint)
    out = Path(out_dir) if out_dir is not None else checkpoint.parent / (f"{split}_quick" if quick else split)
    init_distributed(cfg)
    check_splits(cfg, (split,))
    found = _metric_config(cfg, split)
    assert found is not None
    metric_cfg = copy.deepcopy(found) | dict(num_draws=num_draws, out_file=str(out / "bags.csv"))
    runner = scoring_runner(cfg, split, metric_cfg, out, checkpoint.stem)
    model = runner.model
    load_whole(model.get_submodule("module") if is_model_wrapper(model) else model, checkpoint)
    values = runner.test()
    if not is_main_process():
        return None
    metric = runner.test_loop.evaluator.metrics[0]
    content = {
        "checkpoint": checkpoint.name,
        "split": split,
        "bags": len(metric.predictions),
        "patients": len(set(metric.judged.cases.tolist())),
        "metrics": values,
        "intervals": metric.intervals,
    }
    write_json(out / "metrics.json", without_nan(content))
    for name, (low, high) in metric.intervals.items():
        print_log(f"{name} {values[f'bags/{name}']:.3f}, 95 % interval {low:.3f} to {high:.3f}", logger="current")
    print_log(f"written to {out}: metrics.json, bags.csv", logger="current")
    return values


def _metric_config(cfg: Config, split: str) -> dict | None:
    for name in (f"{split}_evaluator", "test_evaluator", "val_evaluator"):
        found = cfg.get(name) or []
        for one in found if isinstance(found, (list, tuple)) else [found]:
            if str(one.get("type")).rsplit(".", 1)[-1] == "BagMetric":
                return one
    return None
