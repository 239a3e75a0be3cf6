"""A comparison of anomaly detectors as files: results.json, table.csv, table.md, report.html and its figures.

Written by ``python tools/benchmark_anomaly.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.anomaly_files import OPERATING_POINT
from medkit.apis.anomaly_records import AnomalyBenchmark, AnomalyRecord
from medkit.apis.anomaly_table import COLUMNS, CUTOFF_WORDS, AnomalyRow, cutoff_of, rows_of
from medkit.evaluation.functional.anomaly import roc_curve
from medkit.evaluation.tables import without_nan, write_csv, write_json
from medkit.visualization.anomaly import AnomalyTile, plot_anomaly_gallery, plot_roc, plot_score_histograms
from medkit.visualization.html import figure_html, page, picture_html, save_figures, table_html, text_html
from medkit.visualization.markup import markdown_table

__all__ = ["write_report"]

TITLE = "Anomaly detection"
EXTRA = {"pixel_auroc": "pixel AUC", "aupro": "AUPRO", "dice": "Dice", "aucp": "AUCp"}
MEASURED = {"ms_per_image": "ms per image", "peak_mb": "peak MB", "train_seconds": "training, s"}


def write_report(benchmark: AnomalyBenchmark, out: str | Path, rule: str = "validation", num_draws: int = 1000) -> str:
    """Write all files; returns the Markdown.

    anomaly.json, beside each checkpoint, keeps cut-off and range of maps for tools/score.py.

    Args:
        benchmark: what `run_benchmark` returned.
        out: folder.
        rule: of the cut-off.
        num_draws: of the bootstrap by patient.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(benchmark, rule, num_draws)
    text = _markdown(benchmark, rows, rule)
    (folder / "table.md").write_text(text, encoding="utf-8")
    write_csv(folder / "table.csv", _long(rows))
    write_json(folder / "results.json", without_nan(_content(benchmark, rows, rule)))
    html = _html(benchmark, rows, rule)
    (folder / "report.html").write_text(html, encoding="utf-8")
    save_figures(html, folder / "figures")
    _write_points(benchmark, rule)
    return text


def _write_points(benchmark: AnomalyBenchmark, rule: str) -> None:
    for record in benchmark.records:
        path = Path(record.facts.get("checkpoint", ""))
        if record.seed >= 0 and path.is_file():
            point = {"checkpoint": path.name, "cutoff": cutoff_of(benchmark, record, rule), "rule": CUTOFF_WORDS[rule]}
            write_json(path.with_name(OPERATING_POINT), {**point, "span": list(record.facts["span"])})


def _tables(rows: Sequence[AnomalyRow]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(heading, columns, cells) of each table."""
    head = ["method", "seeds", "AUC", "95 % by patient", *list(COLUMNS.values())[1:]]
    main = [[row.method, str(row.num_seeds or "-"), _cell(row, "auroc"), _span(row.interval["auroc"])] for row in rows]
    for line, row in zip(main, rows, strict=True):
        line += [_cell(row, name) for name in list(COLUMNS)[1:]]
    tables = [("Images", head, main)]
    extra = [name for name in EXTRA if any(name in row.mean and row.mean[name] == row.mean[name] for row in rows)]
    trained = [row for row in rows if row.num_seeds]
    if extra and trained:
        cells = [[row.method, *(_cell(row, name) for name in extra)] for row in trained]
        tables.append(("Pixels and AUCp", ["method", *(EXTRA[name] for name in extra)], cells))
    if trained:
        cells = [[row.method, *(_number(row.measured.get(name)) for name in MEASURED)] for row in trained]
        tables.append(("Time and memory", ["method", *MEASURED.values()], cells))
    return tables


def _notes(benchmark: AnomalyBenchmark, rule: str) -> list[str]:
    """What a reader has to know to read the tables."""
    test = benchmark.dataset.patients[benchmark.test]
    notes = [
        f"{benchmark.dataset}.",
        f"Numbers are of the {len(test)} test images of {len(set(test.tolist()))} patients.",
        f"Cut-off: {CUTOFF_WORDS[rule]}.",
        "±: standard deviation over seeds. Intervals: test patients drawn again; chance in training is left out.",
        "Mean intensity and sharpness are not trained: a method that does not beat them may have learnt a shortcut.",
    ]
    said = sorted({record.facts["aucp_note"] for record in benchmark.records if record.facts.get("aucp_note")})
    failed = [f"FAILED: {method}, seed {seed}: {why}" for method, seed, why in benchmark.failures]
    return [*notes, *(f"{one}." for one in said), *failed]


def _markdown(benchmark: AnomalyBenchmark, rows: Sequence[AnomalyRow], rule: str) -> str:
    parts = [f"# {TITLE}\n"]
    for heading, head, cells in _tables(rows):
        parts.append(f"## {heading}\n\n{markdown_table(head, cells)}")
    return "\n".join([*parts, *(f"- {note}" for note in _notes(benchmark, rule))]) + "\n"


def _html(benchmark: AnomalyBenchmark, rows: Sequence[AnomalyRow], rule: str) -> str:
    notes = "".join(text_html(note, note=True) for note in _notes(benchmark, rule))
    tables = _tables(rows)
    sections = [(heading, table_html(head, cells, best=[n == "AUC" for n in head])) for heading, head, cells in tables]
    sections[0] = (sections[0][0], sections[0][1] + notes)
    sections.append(("Curves and scores", _plots(benchmark, rows, rule)))
    sections.append(("Most and least anomalous", _galleries(benchmark)))
    return page(TITLE, benchmark.dataset.root, sections)


def _plots(benchmark: AnomalyBenchmark, rows: Sequence[AnomalyRow], rule: str) -> str:
    labels, of_method = benchmark.labels("test"), _by_method(benchmark)
    curves = {}
    for row in rows:
        found = [roc_curve(labels, record.test_scores) for record in of_method[row.method]]
        curves[row.method] = [(roc.fpr, roc.tpr) for roc in found]
    roc = plot_roc(curves, {row.method: row.mean["auroc"] for row in rows})
    first = {row.method: of_method[row.method][0] for row in rows}
    scores = {name: record.test_scores for name, record in first.items()}
    cutoffs = {name: cutoff_of(benchmark, record, rule) for name, record in first.items()}
    histograms = plot_score_histograms(scores, labels, cutoffs)
    return (
        figure_html(roc, "ROC on the test images: mean over seeds, and their range")
        + figure_html(histograms, "Scores of the test images, first seed")
    )


def _galleries(benchmark: AnomalyBenchmark) -> str:
    html = ""
    for method, records in _by_method(benchmark).items():
        record = records[0]
        if record.shown is None or not len(record.shown):
            continue
        half = len(record.shown) // 2
        for what, part in (("most", slice(0, half)), ("least", slice(half, None))):
            tiles = _tiles(benchmark, record, part)
            figure = plot_anomaly_gallery(tiles, f"{method}: {what} anomalous", tuple(record.facts["span"]))  # type: ignore[arg-type]
            html += picture_html(figure, f"{method}: {what} anomalous test images, truth and score above; map below")
    return html


def _tiles(benchmark: AnomalyBenchmark, record: AnomalyRecord, part: slice) -> list[AnomalyTile]:
    assert record.shown is not None and record.maps is not None and record.images is not None
    labels = benchmark.labels("test")
    return [
        AnomalyTile(image, one, float(record.test_scores[row]), int(labels[row]))
        for row, one, image in zip(record.shown[part], record.maps[part], record.images[part], strict=True)
    ]


def _by_method(benchmark: AnomalyBenchmark) -> dict[str, list[AnomalyRecord]]:
    groups: dict[str, list[AnomalyRecord]] = {}
    for record in benchmark.records:
        groups.setdefault(record.method, []).append(record)
    return groups


def _content(benchmark: AnomalyBenchmark, rows: Sequence[AnomalyRow], rule: str) -> dict[str, Any]:
    test = benchmark.test
    return {
        "dataset": str(benchmark.dataset),
        "cutoff_rule": rule,
        "rows": [asdict(row) for row in rows],
        "failures": [list(one) for one in benchmark.failures],
        "test": {
            "files": [benchmark.dataset.files[row] for row in test],
            "labels": benchmark.dataset.labels[test].tolist(),
            "patients": benchmark.dataset.patients[test].tolist(),
        },
        "records": [
            {"method": one.method, "seed": one.seed, "test_scores": one.test_scores.tolist(), **one.facts}
            for one in benchmark.records
        ],
    }


def _long(rows: Sequence[AnomalyRow]) -> list[list[Any]]:
    """One line for each method and metric."""
    lines: list[list[Any]] = [["method", "seeds", "metric", "mean", "deviation", "low", "high"]]
    for row in rows:
        for name, mean in row.mean.items():
            values = [mean, row.deviation[name], *row.interval.get(name, (np.nan, np.nan))]
            lines.append([row.method, row.num_seeds, name, *("" if value != value else value for value in values)])
        lines += [[row.method, row.num_seeds, name, value, "", "", ""] for name, value in row.measured.items()]
    return lines


def _cell(row: AnomalyRow, name: str) -> str:
    if name not in row.mean or row.mean[name] != row.mean[name]:
        return "-"
    spread = row.deviation[name]
    return f"{row.mean[name]:.3f}" + ("" if spread != spread else f" ± {spread:.3f}")


def _span(pair: tuple[float, float]) -> str:
    return f"[{pair[0]:.3f}, {pair[1]:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"
