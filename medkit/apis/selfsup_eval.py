"""Evaluate pre-trained encoders on graded images: k-NN, linear probe and fine-tuning, over several seeds.

The protocols are those of SSiT (Huang et al., JBHI 2024); docs/selfsup_benchmark.md says what differs. All choices (the
epoch, k) are made on the validation images; the test images are only scored.
Command: ``python tools/benchmark_selfsup.py CONFIG CHECKPOINT DATASET``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from medkit.apis.config import load_config
from medkit.apis.features import build_encoder, extract_features, fingerprint, quiet
from medkit.apis.neighbours import nearest
from medkit.apis.selfsup_batches import FeatureBatches, ImageBatches
from medkit.apis.selfsup_heads import GradingHead, Training, fit
from medkit.apis.selfsup_protocol import PROTOCOLS, Protocol, Record, Run
from medkit.data.graded import GradedSet
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError
from medkit.evaluation.functional.grading import grading_metrics
from medkit.evaluation.functional.neighbours import weighted_vote

__all__ = ["KS", "evaluate", "img_size_of", "knn_scores"]

KS = (5, 10, 20)
TEMPERATURE = 0.07


def evaluate(
    runs: Sequence[Run], graded: GradedSet, protocol: Protocol, say: Callable[[str], None] = print
) -> list[Record]:
    """All records of all runs; one line is said for each evaluation.

    Raises:
        ConfigError: an unknown protocol, a head that does not fit the labels, a run given twice, image sizes that
            differ; all before any work.
        DatasetError, WeightsError: an image or a checkpoint that cannot be read.
    """
    _check(runs, graded, protocol)
    records, drawn = [], set()
    for run in runs:
        one = _Evaluation(run, graded, protocol, say)
        records += list(one.records())
        if protocol.figure_dir is not None and run.name not in drawn:
            one.draw(protocol.figure_dir)
            drawn.add(run.name)
    return records


def _check(runs: Sequence[Run], graded: GradedSet, protocol: Protocol) -> None:
    """What would otherwise be found after hours."""
    unknown = [name for name in protocol.protocols if name not in PROTOCOLS]
    if unknown:
        raise ConfigError(f"protocol {unknown[0]!r}; expected some of {', '.join(PROTOCOLS)}")
    for kind in protocol.heads if {"linear", "finetune"} & set(protocol.protocols) else ():
        GradingHead(kind, len(graded.classes), graded.ordinal)
    if len(set(runs)) < len(runs):
        raise ConfigError("a run is given twice; its deviation would be too small")
    for run in runs:
        if run.checkpoint is not None:
            resolve_checkpoint(run.checkpoint)
    sizes = {img_size_of(load_config(run.config), protocol): run.config for run in runs}
    if len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        raise ConfigError(
            f"{first} has img_size {one}, {second} {two}; methods are compared at one size: give it as --img-size"
        )


def img_size_of(cfg: Config, protocol: Protocol) -> int:
    """Side of the evaluated images: the given one, or the config's."""
    size = protocol.img_size or cfg.get("img_size")
    if not size:
        raise ConfigError(f"{cfg.filename} has no img_size at its top level; give --img-size")
    return int(size)


class _Evaluation:
    """One encoder on one set."""

    def __init__(self, run: Run, graded: GradedSet, protocol: Protocol, say: Callable[[str], None]) -> None:
        self.run, self.graded, self.protocol, self.say = run, graded, protocol, say
        cfg = load_config(run.config)
        self.img_size = img_size_of(cfg, protocol)
        with quiet():
            self.encoder = build_encoder(cfg, run.checkpoint, self.img_size, seed=run.seed)
        self.encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        on_features = {"knn"} if protocol.augment else {"knn", "linear"}
        needed = protocol.figure_dir is not None or on_features & set(protocol.protocols)
        self.features = self._features() if needed else np.zeros((0, 0), np.float32)

    def records(self) -> Iterator[Record]:
        """In the order of the protocols; one line is said for each."""
        for name in self.protocol.protocols:
            if name == "knn":
                yield from self._said(self._knn())
                continue
            for kind in self.protocol.heads:
                for seed in self.protocol.seeds:
                    yield from self._said(self._fitted(name, kind, seed))

    def draw(self, folder: str) -> None:
        """Pictures of the features that k-NN sees, and of the attention."""
        from medkit.apis.selfsup_figures import draw_figures  # loads matplotlib

        features = self.features[:, : self.encoder.dims["knn"]]
        draw_figures(self.run, self.encoder, self.graded, features, self.img_size, folder)

    def _features(self) -> np.ndarray:
        """``(N, D)`` of all images; the first columns are those of k-NN."""
        files, cache = list(self.graded.files), self.protocol.cache_dir
        out = None
        if cache is not None:
            of = repr(sorted(fingerprint(self.encoder, files, self.img_size, "probe").items()))
            out = Path(cache) / f"{hashlib.sha256(of.encode()).hexdigest()[:16]}.npy"
        start = time.perf_counter()
        found = extract_features(
            self.encoder, files, self.img_size, out, pool="probe", num_workers=self.protocol.num_workers
        )
        seconds = time.perf_counter() - start
        self.say(f"{self.run.name} ({self.run.label}): {len(files)} images at {self.img_size} px in {seconds:.1f} s")
        return found

    def _knn(self) -> Iterator[Record]:
        graded, num_classes = self.graded, len(self.graded.classes)
        features = self.features[:, : self.encoder.dims["knn"]]
        head, train = GradingHead("classification", num_classes, graded.ordinal), graded.rows("train")
        scores = {
            split: knn_scores(features[train], graded.labels[train], features[graded.rows(split)], num_classes)
            for split in ("val", "test")
        }
        truth = graded.labels[graded.rows("val")]
        on_val = {k: head.kappa(truth, votes.argmax(axis=1)) for k, votes in scores["val"].items()}
        best = max(KS, key=lambda k: (np.nan_to_num(on_val[k], nan=-np.inf), -k))
        settings = {"img_size": self.img_size, "ks": list(KS), "temperature": TEMPERATURE}
        for selected, k in (("best", best), *((f"k={k}", k) for k in KS)):
            votes = scores["test"][k]
            how = {"protocol": "knn", "head": "vote", "selected": selected, "seed": None, "chosen": k}
            yield self._record(how, on_val[k], votes.argmax(axis=1), votes, settings)

    def _fitted(self, name: str, kind: str, seed: int) -> Iterator[Record]:
        head = GradingHead(kind, len(self.graded.classes), self.graded.ordinal)
        training = self.protocol.training(name, len(self.graded.rows("train")))
        settings = {"img_size": self.img_size, **asdict(training)}
        if name == "linear":
            augment = self.protocol.augment
            settings |= {"augment": augment, "standardise": self.protocol.standardise and not augment}
        for selected, found in fit(self._batches(name, training), head, training, seed).items():
            how = {"protocol": name, "head": kind, "selected": selected, "seed": seed, "chosen": found.epoch}
            yield self._record(how, found.val_kappa, *head.read(found.outputs), settings)

    def _batches(self, name: str, training: Training) -> FeatureBatches | ImageBatches:
        if name == "linear" and not self.protocol.augment:
            return FeatureBatches(self.features, self.graded, training.batch_size, self.protocol.standardise)
        return ImageBatches(
            self.encoder,
            self.graded,
            self.img_size,
            training.batch_size,
            frozen=name == "linear",
            num_workers=self.protocol.num_workers,
        )

    def _record(
        self, how: dict[str, Any], val_kappa: float, grades: np.ndarray, scores: np.ndarray, settings: dict[str, Any]
    ) -> Record:
        graded = self.graded
        truth = graded.labels[graded.rows("test")]
        metrics = grading_metrics(truth, grades, scores, len(graded.classes), ordinal=graded.ordinal)
        return Record(
            method=self.run.name,
            run=self.run.label,
            val_kappa=float(val_kappa),
            metrics={name: float(value) for name, value in metrics.items()},
            grades=grades,
            scores=scores,
            settings=settings,
            **how,
        )

    def _said(self, records: Iterator[Record]) -> list[Record]:
        start = time.perf_counter()
        found = list(records)
        best, seconds = found[0], time.perf_counter() - start
        seed = "" if best.seed is None else f" seed {best.seed},"
        chosen = "k" if best.protocol == "knn" else "epoch"
        self.say(
            f"{best.method} ({best.run}): {best.protocol} {best.head},{seed} {chosen} {best.chosen}, kappa "
            f"{best.metrics['kappa']:.3f} (validation {best.val_kappa:.3f}), {seconds:.1f} s"
        )
        return found


def knn_scores(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, num_classes: int, ks: Sequence[int] = KS
) -> dict[int, np.ndarray]:
    """Share of the votes for each class ``(M, K)`` by each k; a neighbour's vote weighs exp(cosine / 0.07)."""
    similarity, rows = nearest(bank, queries, max(ks))  # (M, k)
    votes = {k: weighted_vote(similarity[:, :k], labels[rows[:, :k]], num_classes, TEMPERATURE) for k in ks}
    return {k: vote / vote.sum(axis=1, keepdims=True) for k, vote in votes.items()}
