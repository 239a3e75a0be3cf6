"""Training and scoring of several anomaly detectors on one set, several seeds each; what is done is not done again.

Every method is trained by its config METHOD_phantom.py, through the same `train` as ``python tools/train.py``, and
scores the same images of val and test. Two numbers that need no training stand beside them: mean intensity and
sharpness.
Command: ``python tools/benchmark_anomaly.py DATASET --methods all --seeds 3``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from medkit.apis.anomaly import AnomalyScorer, ScoredSet
from medkit.apis.anomaly_records import AnomalyBenchmark, AnomalyRecord, baselines, read_record, write_record
from medkit.apis.config import load_config
from medkit.apis.repeated import settings_hash, train_again
from medkit.data.anomaly_table import AnomalySet, read_anomaly
from medkit.data.transforms.loading import read_image
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError, MedkitError
from medkit.evaluation.functional.anomaly import aucp
from medkit.evaluation.functional.anomaly_pixels import best_dice_cutoff, pixel_metrics
from medkit.evaluation.functional.grading import auroc
from medkit.visualization.anomaly import map_range

__all__ = ["METHODS", "BenchmarkSettings", "find_methods", "run_benchmark"]

METHODS = ("healthygan", "fanogan", "ganomaly", "alad", "alocc", "padim", "patchcore")
AUCP_IMAGES = 500  # of each set, spread over it
GALLERY = 8  # most, and as many least anomalous images


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is trained and how.

    Attributes:
        dataset: folder that `read_anomaly` reads.
        out: folder of all results; runs/ and scores/ in it make the benchmark resumable.
        methods: names, see `find_methods`.
        seeds: of the training.
        config_dir: folder of METHOD_phantom.py.
        img_size: side of the images; None takes each config's own.
        max_iters: iterations; None takes each config's own. Methods fitted in one pass keep theirs.
        amp: bfloat16, where a method has an optimizer.
        device: of the scoring; None takes the GPU where there is one.
        select: 'last' checkpoint, or the one of the highest 'aucp' of those the run wrote.
        cfg_options: further changes to every config that reads them.
    """

    dataset: str
    out: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    config_dir: str
    img_size: int | None = None
    max_iters: int | None = None
    amp: bool = False
    device: str | None = None
    select: str = "last"
    cfg_options: dict = field(default_factory=dict)


def find_methods(names: Sequence[str], config_dir: str | Path) -> tuple[str, ...]:
    """The methods asked for; 'all' is every one of `METHODS` with a config METHOD_phantom.py.

    Raises:
        ConfigError: a config is not there.
    """
    there = {name for name in METHODS if (Path(config_dir) / f"{name}_phantom.py").is_file()}
    wanted = [name for name in METHODS if name in there] if "all" in names else list(dict.fromkeys(names))
    absent = [name for name in wanted if not (Path(config_dir) / f"{name}_phantom.py").is_file()]
    if absent or not wanted:
        raise ConfigError(
            f"no config {config_dir}/{(absent or ['METHOD'])[0]}_phantom.py; methods with one: "
            f"{', '.join(sorted(there)) or 'none'}"
        )
    return tuple(wanted)


def run_benchmark(settings: BenchmarkSettings) -> AnomalyBenchmark:
    """Train and score whatever is not done yet; a method that fails is noted and the others go on.

    Raises:
        ConfigError: ``out`` holds results of other settings.
        DatasetError: as `read_anomaly`; or the set has no image of val or test.
    """
    found = read_anomaly(settings.dataset)
    for role in ("val", "test"):
        if not len(found.rows(role)):
            raise ConfigError(
                f"{settings.dataset} has no image of role {role}; cut-offs come from val, numbers from test"
            )
    print(found, flush=True)
    records, failures = [], []
    for method in settings.methods:
        for seed in settings.seeds:
            try:
                records.append(_record(settings, found, method, seed))
            except MedkitError as error:
                failures.append((method, seed, str(error)))
                print(f"{method}, seed {seed} FAILED: {error}", flush=True)
    val, test = found.rows("val"), found.rows("test")
    return AnomalyBenchmark(found, val, test, (*records, *baselines(found, settings.img_size or 64)), tuple(failures))


def _record(settings: BenchmarkSettings, found: AnomalySet, method: str, seed: int) -> AnomalyRecord:
    cfg = _config(settings, method, seed)
    same = settings_hash(cfg, found.files, found.labels.tolist(), found.roles.tolist(), settings.select)
    path = Path(settings.out) / "scores" / f"{method}_seed{seed}"
    known = read_record(path, method, seed)
    if known is not None:
        if known.facts["fingerprint"] != same:
            raise ConfigError(
                f"{path}.json was made with other images, settings or another config; give another --out, or remove it"
            )
        return known
    seconds = _train(cfg)
    scorer = AnomalyScorer(cfg, _checkpoint(settings, cfg, found), device=settings.device)
    record = _score(scorer, settings.dataset, found, method, seed)
    record.facts.update(fingerprint=same, train_seconds=seconds)
    write_record(path, record)
    said = f"AUROC {float(auroc(found.labels[found.rows('test')], record.test_scores)):.3f}"
    print(f"{method}, seed {seed}: {said}; {record.facts['checkpoint']}", flush=True)
    return record


def _config(settings: BenchmarkSettings, method: str, seed: int) -> Config:
    """The method's config with what the settings change of it."""
    path = Path(settings.config_dir) / f"{method}_phantom.py"
    plain = load_config(path)
    wanted = {**settings.cfg_options, "img_size": settings.img_size, "max_iters": settings.max_iters}
    options = {name: value for name, value in wanted.items() if value is not None and name.split(".")[0] in plain}
    if any(str(hook["type"]).endswith("FitHook") for hook in plain.get("custom_hooks") or ()):
        options.pop("max_iters", None)  # one pass over the images is what it takes
    cfg = load_config(
        path,
        data_root=settings.dataset,
        work_dir=Path(settings.out) / "runs" / method / f"seed{seed}",
        cfg_options={**options, "seed": seed},
        amp=settings.amp and plain.get("optim_wrapper") is not None,
    )
    for name in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[name] = None  # scored once, at the end
    if settings.select == "aucp":
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    return cfg


def _train(cfg: Config) -> float | None:
    """Train, or go on; seconds, None where the run had been begun, or was complete, before."""
    folder, loop = Path(cfg.work_dir), cfg.train_cfg
    one_pass = loop.get("max_iters") is None  # fitted over epochs: the only checkpoint is that of the end
    done = folder / ("last_checkpoint" if one_pass else f"iter_{loop.max_iters}.pth")
    return None if done.is_file() else train_again(cfg)


def _checkpoint(settings: BenchmarkSettings, cfg: Config, found: AnomalySet) -> Path:
    """The last checkpoint, or the one with the highest AUCp."""
    last = resolve_checkpoint(cfg.work_dir)
    if settings.select == "last":
        return last
    areas = {}
    kept = [path for path in last.parent.glob("*_*.pth") if path.stem.split("_")[-1].isdigit()]
    for path in sorted(kept, key=lambda path: int(path.stem.split("_")[-1])):
        area, said = _aucp(AnomalyScorer(cfg, path, device=settings.device), settings.dataset, found)
        if said:
            raise ConfigError(f"select='aucp': {said}; take select='last'")
        areas[path] = area
    return max(areas, key=lambda path: areas[path])


def _aucp(scorer: AnomalyScorer, dataset: str, found: AnomalySet) -> tuple[float, str]:
    if not len(found.rows("mixed")):
        return aucp(np.zeros(1), np.zeros(0))
    limit = {"healthy": AUCP_IMAGES, "mixed": AUCP_IMAGES}
    scored = scorer.score_set(dataset, ("healthy", "mixed"), maps=False, limit=limit)
    return aucp(scored.scores[scored.rows("healthy")], scored.scores[scored.rows("mixed")], found.contamination)


def _score(scorer: AnomalyScorer, dataset: str, found: AnomalySet, method: str, seed: int) -> AnomalyRecord:
    scored = scorer.score_set(dataset, ("val", "test"))
    assert scored.maps is not None, "they were asked for"
    place = {file: row for row, file in enumerate(scored.files)}
    val, test = (np.array([place[found.files[row]] for row in found.rows(role)]) for role in ("val", "test"))
    area, said = _aucp(scorer, dataset, found)
    order = np.argsort(-scored.scores[test], kind="stable")
    shown = np.concatenate([order[:GALLERY], order[-GALLERY:]])
    facts = {"aucp": area, "aucp_note": said, **_pixel_facts(scored, val, test)}
    facts |= {"ms_per_image": scored.ms_per_image, "peak_mb": scored.peak_mb, "checkpoint": str(scorer.checkpoint)}
    facts["span"] = map_range([scored.maps[row] for row in val])
    pictures = [scorer.prepare(read_image(scored.files[test[row]]))[0].numpy().transpose(1, 2, 0) for row in shown]
    scores = scored.scores[val], scored.scores[test]
    return AnomalyRecord(method, seed, *scores, facts, shown, scored.maps[test[shown]], np.stack(pictures))


def _pixel_facts(scored: ScoredSet, val: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Pixel metrics of test at the cut-off of the best Dice of val; nothing where masks are missing."""
    assert scored.maps is not None
    outlined = [[row for row in rows if scored.masks[row] is not None] for rows in (val, test)]
    if not all(any(scored.masks[row].any() for row in rows) for rows in outlined):  # type: ignore[union-attr]
        return {}
    (val_maps, val_masks), (maps, masks) = (
        ([scored.maps[row] for row in rows], [scored.masks[row] for row in rows]) for rows in outlined
    )
    return pixel_metrics(maps, masks, best_dice_cutoff(val_maps, val_masks))  # type: ignore[arg-type]
