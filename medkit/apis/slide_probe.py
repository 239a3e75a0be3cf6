"""Linear probe of slide embeddings: how well a logistic regression on frozen vectors tells the classes of slides.

As published for giga-SSL (Lazard et al., CVPRW 2023): C = 10, balanced class weights, 1000 iterations, vectors as they
are, AUROC (binary, or each class against the rest). Unlike there, patients stay on one side of each split, unless
published splits are asked for, whose leaks are counted. Command: ``python tools/slide_probe.py OUT.npz AVERAGE.npz``.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.apis.crossval_folds import subject_folds
from medkit.apis.embedding_files import Embeddings, read_embeddings
from medkit.data.bag_rows import read_rows
from medkit.data.refusal import refuse
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.grading import auroc

__all__ = ["LabelledSlides", "Probe", "Side", "label_slides", "probe_table", "run_probe"]


@dataclass(frozen=True)
class LabelledSlides:
    """N slides with label (N,) int, patient and split (N,) text ('' unknown)."""

    ids: np.ndarray
    cases: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """Rows that are trained and tested on in one split."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Probe:
    """AUROC of each split of a protocol, on one kind of vectors.

    Attributes:
        auroc: (S,).
        leaked: share of the tested slides whose patient was trained on, mean over the splits; 0 unless published
            splits are used.
        unconverged: fits that did not settle in the iterations allowed.
    """

    auroc: np.ndarray
    leaked: float
    unconverged: int

    def __str__(self) -> str:
        text = f"{self.auroc.mean():.3f} +- {self.auroc.std(ddof=1) if len(self.auroc) > 1 else 0:.3f}"
        return text + (f" LEAKY: {self.leaked:.1%} of test slides have their patient in train" if self.leaked else "")


def label_slides(table: str | Path, ids: np.ndarray) -> LabelledSlides:
    """Labels, patients and splits of these slides, from ``bags.csv``.

    Raises:
        DatasetError: a slide has no row or no label, or all have the same.
    """
    rows = {row["slide_id"]: row for row in read_rows(Path(table))}
    bare = [name for name in ids.tolist() if not rows.get(name, {}).get("label")]
    refuse(bare, f"{table} has no label for the embedded slide", "add it, or embed --split train, test, ... alone")
    found = [rows[name] for name in ids.tolist()]
    classes = tuple(sorted({row["label"] for row in found}))
    if len(classes) < 2:
        raise DatasetError(f"{table}: all embedded slides are of the class {classes}; a probe needs two")
    labels = np.array([classes.index(row["label"]) for row in found])
    cases, splits = (np.array([row[name] for row in found], dtype=str) for name in ("case_id", "split"))
    return LabelledSlides(np.asarray(ids, dtype=str), cases, labels, splits, classes)


def fold_splits(slides: LabelledSlides, folds: int = 5, seed: int = 0) -> list[Side]:
    """Folds by patient, classes in like shares; each slide is tested once."""
    made = subject_folds(slides.labels, slides.cases, slides.classes, folds, seed)
    sides = ((np.isin(slides.cases, fold.train), np.isin(slides.cases, fold.test)) for fold in made)
    return [Side(*map(np.flatnonzero, side)) for side in sides]


def budget_splits(
    slides: LabelledSlides, labelled: int, draws: int = 20, seed: int = 0, by_split: bool = False
) -> Iterator[Side]:
    """``labelled`` slides of different patients, as many of each class as their shares say, against all other patients.

    Args:
        slides: N.
        labelled: slides that are trained on, at least one of each class.
        draws: how many splits.
        seed: of the draws.
        by_split: draw from split train and test on split test: a model trained on train alone has not seen those.

    Raises:
        DatasetError: too few patients, or no such splits.
    """
    pool = np.flatnonzero(slides.splits == "train") if by_split else np.arange(len(slides.ids))
    tested = np.flatnonzero(slides.splits == "test") if by_split else pool
    counts = _shares(slides.labels[pool], len(slides.classes), labelled)
    for draw in range(draws):
        rng = np.random.default_rng((seed, labelled, draw))
        order = rng.permutation(pool)
        order = order[np.sort(np.unique(slides.cases[order], return_index=True)[1])]  # a slide of each patient
        train = np.concatenate([order[slides.labels[order] == label][:count] for label, count in enumerate(counts)])
        test = tested[~np.isin(slides.cases[tested], slides.cases[train])]
        if len(train) < sum(counts) or len(set(slides.labels[test])) < len(slides.classes):
            raise DatasetError(
                f"{labelled} labelled slides of different patients, {counts} of {slides.classes}, do not leave all "
                f"classes to test on: {len(set(slides.cases[pool]))} patients; ask for fewer with --labelled"
            )
        yield Side(train, test)


def _shares(labels: np.ndarray, classes: int, total: int) -> list[int]:
    """Slides of each class among ``total``, at least one; what rounding leaves goes to the largest."""
    if total < classes or not len(labels):
        raise DatasetError(f"--labelled {total} of {len(labels)} slides; expected one of each of {classes} classes")
    share = np.bincount(labels, minlength=classes) / len(labels)
    counts = np.maximum(np.floor(share * total).astype(int), 1)
    while counts.sum() > total:
        counts[counts.argmax()] -= 1
    counts[share.argmax()] += total - counts.sum()
    return counts.tolist()


def published_splits(slides: LabelledSlides, folder: str | Path) -> list[Side]:
    """Splits as csv files with the columns train and test of slide ids; slides that are not embedded are left out.

    Raises:
        ConfigError: no such files, or they name none of the slides.
    """
    files = sorted(Path(folder).glob("*.csv"))
    row_of, sides = {name: row for row, name in enumerate(slides.ids.tolist())}, []
    for path in files:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        named = ([row.get(side) or "" for row in rows] for side in ("train", "test"))
        sides.append(Side(*(np.array([row_of[n] for n in names if n in row_of], dtype=int) for names in named)))
        if not (len(sides[-1].train) and len(sides[-1].test)):
            raise ConfigError(f"{path} names no embedded slides in its columns train and test; give this set's files")
    if not files:
        raise ConfigError(f"{folder} holds no csv of splits; expected files with the columns train and test")
    return sides


def run_probe(embeddings: Embeddings, slides: LabelledSlides, sides: Sequence[Side]) -> Probe:
    """Fit and test on each split."""
    areas, leaked, unconverged = [], [], 0
    for side in sides:
        scores, settled = _fit(embeddings.vectors, slides.labels, side)
        binary = scores.shape[1] == 2
        areas.append(float(auroc(slides.labels[side.test], scores[:, 1] if binary else scores)))
        leaked.append(np.isin(slides.cases[side.test], slides.cases[side.train]).mean())
        unconverged += not settled
    return Probe(np.array(areas), float(np.mean(leaked)), unconverged)


def _fit(vectors: np.ndarray, labels: np.ndarray, side: Side) -> tuple[np.ndarray, bool]:
    """Probabilities (M, C) of the tested slides, and whether the fit settled."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError("the probe needs scikit-learn; run `pip install medkit[selfsup]`") from error
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(vectors[side.train], labels[side.train])
    scores = np.zeros((len(side.test), int(labels.max()) + 1))
    scores[:, model.classes_] = model.predict_proba(vectors[side.test])
    return scores, not any(issubclass(warning.category, ConvergenceWarning) for warning in said)


def probe_table(
    files: Sequence[str | Path],
    data_root: str | Path,
    *,
    folds: int = 5,
    labelled: Sequence[int] = (),
    draws: int = 20,
    by_split: bool = False,
    splits: str | Path | None = None,
    seed: int = 0,
) -> str:
    """A Markdown table: a row for each file, a column for each protocol.

    Raises:
        DatasetError: files of different slides, and as `label_slides`, `budget_splits`.
    """
    found = [read_embeddings(path) for path in files]
    slides = label_slides(Path(data_root, "bags.csv"), found[0].ids)
    for path, other in zip(files, found, strict=True):
        if not np.array_equal(other.ids, slides.ids):
            raise DatasetError(f"{path} is not of the slides of {files[0]} in their order; embed the same ones")
    protocols: dict[str, list[Side]] = {}
    if folds and splits is None:
        protocols[f"{folds} folds by patient"] = fold_splits(slides, folds, seed)
    for count in labelled:
        protocols[f"{count} labelled"] = list(budget_splits(slides, count, draws, seed, by_split))
    if splits is not None:
        protocols[f"splits of {splits}"] = published_splits(slides, splits)
    lines = [f"| AUROC, {len(slides.ids)} slides | {' | '.join(protocols)} |", "|---" * (1 + len(protocols)) + "|"]
    unconverged = 0
    for path, each in zip(files, found, strict=True):
        probes = [run_probe(each, slides, sides) for sides in protocols.values()]
        unconverged += sum(probe.unconverged for probe in probes)
        lines.append(f"| {Path(path).stem} | {' | '.join(map(str, probes))} |")
    note = [f"{unconverged} fits did not settle in 1000 iterations"] if unconverged else []
    return "\n".join([*lines, *note])
