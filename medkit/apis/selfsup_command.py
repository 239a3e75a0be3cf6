"""What ``python tools/benchmark_selfsup.py`` does with its options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from medkit.apis.config import load_config
from medkit.apis.selfsup_eval import evaluate
from medkit.apis.selfsup_protocol import Protocol, Run
from medkit.apis.selfsup_report import read_benchmark, write_benchmark
from medkit.apis.selfsup_table import Benchmark
from medkit.data.graded import GradedSet, read_graded
from medkit.errors import ConfigError

__all__ = ["benchmark", "runs_of", "untrained_runs"]


def benchmark(args: argparse.Namespace) -> str:
    """Evaluate, join with earlier results, write the table; returns it."""
    parts = [read_benchmark(path) for path in args.merge]
    runs, dataset = runs_of(args)
    if runs:
        untrained = untrained_runs(runs, args.seeds) if args.random else {}
        graded = read_graded(dataset)
        print(graded)
        every = [*runs, *dict.fromkeys(run for group in untrained.values() for run in group)]
        references = {method: group[0].name for method, group in untrained.items()}
        parts.append(Benchmark.of(graded, evaluate(every, graded, _protocol(args, graded)), references))
    if not parts:
        raise ConfigError("nothing to evaluate; give CONFIG CHECKPOINT DATASET, or DATASET with --run, or --merge")
    text = write_benchmark(reduce(Benchmark.joined, parts), args.out)
    return f"{text}\nwritten to {args.out}/table.md, table.csv and results.json"


def runs_of(args: argparse.Namespace) -> tuple[list[Run], str]:
    """Encoders to evaluate, and the set's folder; the checkpoint ``none`` is the network as it is initialised."""
    paths, given = list(args.paths), list(args.run)
    if len(paths) == 3:
        given.insert(0, (Path(paths[0]).stem, paths[0], paths[1]))
    elif len(paths) != 1 and (given or paths):
        raise ConfigError(
            f"{len(paths)} paths ({' '.join(paths)}); expected CONFIG CHECKPOINT DATASET, or DATASET with --run"
        )
    if paths and not given:
        raise ConfigError(
            f"only a data set, {paths[0]}; give CONFIG CHECKPOINT before it, or --run NAME CONFIG CHECKPOINT"
        )
    runs = [Run(name, config, None if checkpoint == "none" else checkpoint) for name, config, checkpoint in given]
    return runs, paths[-1] if paths else ""


def untrained_runs(runs: Sequence[Run], seeds: Sequence[int]) -> dict[str, list[Run]]:
    """Method -> the same network as it is initialised, once per seed; methods of one kind of network share them."""
    kinds: dict[str, list[Run]] = {}
    found = {}
    for run in runs:
        backbone = load_config(run.config).model.get("backbone") or {}
        kind = repr(backbone)
        if kind not in kinds:
            size = backbone.get("depth") or backbone.get("arch")
            name = f"random {str(backbone.get('type')).split('.')[-1]}" + f"-{size}" * isinstance(size, (int, str))
            taken = {group[0].name for group in kinds.values()}
            name = f"{name} ({Path(run.config).stem})" if name in taken else name
            kinds[kind] = [Run(name, run.config, None, seed) for seed in seeds]
        found[run.name] = kinds[kind]
    return found


def _protocol(args: argparse.Namespace, graded: GradedSet) -> Protocol:
    heads = args.head or ["regression" if graded.ordinal else "classification"]
    return Protocol(
        protocols=tuple(args.protocols),
        heads=tuple(heads),
        seeds=tuple(args.seeds),
        img_size=args.img_size,
        augment=args.augment,
        standardise=not args.raw_features,
        epochs=args.epochs,
        finetune_lr=args.finetune_lr,
        linear_lr=args.linear_lr,
        amp=args.amp,
        num_workers=args.num_workers,
        cache_dir=str(Path(args.out) / "features"),
        figure_dir=args.out if args.figures else None,
    )
