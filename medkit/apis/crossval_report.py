"""A cross-validation as files: table.md, scores.csv, results.json, and pictures of codes and reconstructions.

Written by ``python tools/crossval.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.crossval import CrossvalResult, CrossvalSettings
from medkit.apis.crossval_scores import scanner_scores
from medkit.apis.crossval_table import PUBLISHED, fold_table, main_table, retrieval_table, scanner_table
from medkit.apis.fold_tables import long_rows, mean_and_deviation, section
from medkit.evaluation.functional.reconstruction import BRAIN_THR
from medkit.evaluation.tables import without_nan, write_csv, write_json
from medkit.visualization.figures import save_figure
from medkit.visualization.volumes import plot_codes, plot_reconstructions

__all__ = ["markdown", "write_crossval"]


def write_crossval(results: Sequence[CrossvalResult], settings: CrossvalSettings) -> str:
    """Write all files to ``settings.out``; returns the Markdown."""
    folder = Path(settings.out)
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(results, settings)
    (folder / "table.md").write_text(text, encoding="utf-8")
    write_csv(folder / "scores.csv", long_rows(results))
    write_json(folder / "results.json", without_nan(_content(results, settings)))
    _draw(results, folder, settings.seed)
    return text


def markdown(results: Sequence[CrossvalResult], settings: CrossvalSettings) -> str:
    """All tables with what a reader has to know."""
    tables = [main_table(results), retrieval_table(results), scanner_table(results, settings.seed), fold_table(results)]
    parts = ["# Cross-validation\n", *(section(table) for table in tables if table is not None)]
    return "\n".join([*parts, *(f"- {note}" for note in _notes(results, settings))]) + "\n"


def _notes(results: Sequence[CrossvalResult], settings: CrossvalSettings) -> list[str]:
    held_out = [record.test for record in results[0].records]
    subjects = len({name for one in held_out for name in one.subjects.tolist()})
    scans, seconds = sum(len(one.labels) for one in held_out), {}
    for result in results:
        told = [record.facts.get("train_seconds") for record in result.records]
        seconds[result.name] = sum(one for one in told if one) if all(told) else float("nan")
    times = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items() if value == value)
    notes = [
        f"{len(held_out)} folds by subject, seed {settings.seed}: {scans} scans of {subjects} subjects, each held out "
        "once; mean ± standard deviation over folds. Differences are taken fold by fold.",
        "k-means accuracy: clusters of the held-out codes under the best naming, which reads the held-out labels. By "
        "training centroids: clusters found in and named by the training scans. Shuffled: the first config's clusters "
        "when subjects exchange their labels, the mean of 200 draws.",
        "P@k, mAP: held-out scans looked up among training scans; held out: among held-out scans of other subjects. "
        "Chance: what a random ranking reaches.",
        "RMSE: 100 x sqrt(mean((x - y)^2)) of intensities in [0, 1], the mean over scans; in brain: within the largest "
        f"connected part over {BRAIN_THR}, holes filled.",
        "Published: Onga et al. 2019, 1795 scans of ADNI2, in which 0.624 are of the larger class; its RMSE is not "
        "defined, so those numbers are no yardstick for these.",
    ]
    return [*notes, f"Training of all folds: {times}."] if times else notes


def _content(results: Sequence[CrossvalResult], settings: CrossvalSettings) -> dict[str, Any]:
    configs = {}
    for result in results:
        columns = {name: np.array([fold.get(name, np.nan) for fold in result.scores]) for name in result.scores[0]}
        configs[result.name] = {
            "mean": {name: mean_and_deviation(values)[0] for name, values in columns.items()},
            "deviation": {name: mean_and_deviation(values)[1] for name, values in columns.items()},
            "folds": [
                {
                    "scores": scores,
                    "scanners": scanner_scores(record, len(result.classes), settings.seed),
                    "held_out": sorted(set(record.test.subjects.tolist())),
                    **record.facts,
                }
                for scores, record in zip(result.scores, result.records, strict=True)
            ],
        }
    about = {"folds": settings.folds, "seed": settings.seed, "classes": list(results[0].classes)}
    return {**about, "configs": configs, "published": PUBLISHED}


def _draw(results: Sequence[CrossvalResult], folder: Path, seed: int) -> None:
    """The first fold: codes as maps, slices of held-out scans."""
    save_figure(plot_codes({one.name: _points(one) for one in results}, results[0].classes, seed), folder / "codes.png")
    for result in results:
        record = result.records[0]
        titles = []
        for row, error in zip(record.shown, record.rmse[record.shown], strict=True):
            label = record.test.labels[row]
            titles.append(f"{result.classes[label] if label >= 0 else 'unknown'}\nRMSE {error:.1f} %")
        figure = plot_reconstructions(list(record.inputs), list(record.reconstructions), titles)
        save_figure(figure, folder / f"slices_{result.name}.png", dpi=90)


def _points(result: CrossvalResult) -> dict[str, np.ndarray]:
    """Codes of both sides of the first fold, with what colours them."""
    train, test = result.records[0].train, result.records[0].test
    columns = {name: np.concatenate([getattr(train, name), getattr(test, name)]) for name in ("labels", "scanners")}
    held_out = np.repeat([False, True], [len(train.labels), len(test.labels)])
    return {**columns, "codes": np.concatenate([train.codes, test.codes]), "held_out": held_out}
