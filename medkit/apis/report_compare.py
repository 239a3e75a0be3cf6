"""Several runs side by side: what was trained and how well it does, and paired differences to the first run.

The columns are those of the liver report: model, backbone, weights (flex, fix, stepwise), classes, epochs, size and
COCO's six numbers; behind them the lesion-level rates. Command: ``python tools/report.py RUN RUN ...``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from mmengine.config import Config

from medkit.apis.report_page import number
from medkit.apis.report_runs import ScoredRun
from medkit.errors import DatasetError
from medkit.evaluation.functional import FROC_RATES, RECALLS, compare, confidence_curves
from medkit.evaluation.tables import without_nan, write_csv, write_json
from medkit.visualization.curves import plot_f1_confidence, plot_froc, plot_pr
from medkit.visualization.html import figure_html, page, save_figures, table_html, text_html
from medkit.visualization.markup import latex_table, markdown_table

__all__ = ["compare_page", "comparison_rows", "describe", "difference_rows", "write_comparison"]

COCO = {"mAP": "coco/mAP", "AP50": "coco/mAP_50", "AP75": "coco/mAP_75", "APs": "coco/mAP_s", "APm": "coco/mAP_m",
        "APl": "coco/mAP_l"}  # fmt: skip
LESION = {"precision": "lesion/precision", "recall": "lesion/recall", "F1": "lesion/f1"}
SETUP_NOTE = (
    "Weights: flex trains the whole backbone from the start, fix keeps it frozen, stepwise releases it stage by stage. "
    "Start: where the backbone's weights came from."
)
DIFFERENCE = ("run", "metric", "reference", "value", "difference", "low", "high", "p")


def describe(cfg: Config) -> dict[str, Any]:
    """Model, backbone, weights, start, classes, epochs and size of a resolved training config."""
    model = cfg.model
    backbone = model.get("backbone") or {}
    hooks = cfg.get("custom_hooks") or []
    modes = [hook.get("mode", "stepwise") for hook in hooks if str(hook.get("type")).endswith("StepwiseUnfreezeHook")]
    return {
        "model": _plain(model.type),
        "backbone": _plain(backbone.get("type", "-")) + (f"-{backbone['depth']}" if "depth" in backbone else ""),
        "weights": modes[0] if modes else "flex",
        "start": _start(backbone.get("init_cfg")),
        "classes": len(cfg.get("classes") or ()) or _num_classes(model),
        "epochs": (cfg.get("train_cfg") or {}).get("max_epochs", "-"),
        "size": _size(cfg),
    }


def _plain(name: str) -> str:
    return str(name).rsplit(".", 1)[-1]


def _num_classes(model: dict) -> int | str:
    return (model.get("bbox_head") or {}).get("num_classes", "-")


def _start(init_cfg: Any) -> str:
    """Where the weights of the backbone came from."""
    for one in init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg or {}]:
        checkpoint = str(one.get("checkpoint", ""))
        if checkpoint.startswith("torchvision://"):
            return "ImageNet"
        if checkpoint:
            path = Path(checkpoint.rstrip("/"))
            return path.parent.name if path.suffix == ".pth" else path.name
    return "scratch"


def _size(cfg: Config) -> str:
    size = cfg.get("img_size")
    return "-" if size is None else "x".join(map(str, size)) if isinstance(size, (list, tuple)) else str(size)


def comparison_rows(runs: Sequence[ScoredRun]) -> list[dict[str, Any]]:
    """One row per run: its set-up, then its numbers, unrounded."""
    rows = []
    for run in runs:
        metrics = run.report.metrics()
        numbers = {said: metrics[name] for said, name in (COCO | LESION).items()}
        rows.append({"run": run.name, **describe(run.config), **numbers, "threshold": run.report.score_thr})
    return rows


def difference_rows(runs: Sequence[ScoredRun]) -> list[dict[str, Any]]:
    """Each run less the first one, on the same bootstrap draws of patients.

    Raises:
        DatasetError: the runs were scored on different images or labels.
    """
    _check_same_set(runs)
    first = runs[0].report
    rows = []
    for run in runs[1:]:
        if first.bootstrap is None or run.report.bootstrap is None:
            continue
        found = compare(run.report.bootstrap, first.bootstrap)
        for said, name in _shared_metrics(run, runs[0]):
            reference, one = first.bootstrap.estimates[name], found[name]
            values = (reference, reference + one.estimate, one.estimate, one.low, one.high, one.p)
            rows.append(dict(zip(DIFFERENCE, (run.name, said, *values), strict=True)))
    return rows


def _shared_metrics(run: ScoredRun, first: ScoredRun) -> Iterator[tuple[str, str]]:
    yield from {"mAP": "coco/mAP", "AP50": "coco/mAP_50", **LESION}.items()
    if run.report.classes == first.report.classes:
        for label, name in enumerate(run.report.classes):
            yield f"AP {name}", f"coco/AP_{label}"
            yield f"F1 {name}", f"lesion/f1_{label}"


def _check_same_set(runs: Sequence[ScoredRun]) -> None:
    """Paired differences mean something only on the same images with the same boxes; classes may be merged."""

    def seen(run: ScoredRun) -> list[tuple]:
        pairs = zip(run.truth.images, run.truth.boxes, strict=True)
        return [(image["file_name"], sorted(tuple(entry["bbox"]) for entry in boxes)) for image, boxes in pairs]

    first = seen(runs[0])
    for run in runs[1:]:
        if seen(run) != first:
            raise DatasetError(
                f"{runs[0].name} was scored on {runs[0].truth.ann_file} and {run.name} on {run.truth.ann_file}, which "
                "hold other images or boxes; runs that are compared must be tested on the same set"
            )


def _shown(rows: Sequence[dict]) -> list[list[str]]:
    """Cells as text: measured numbers with three digits, differences with their sign."""

    def cell(name: str, value: Any) -> str:
        if isinstance(value, float):
            signed = name in ("difference", "low", "high") and not math.isnan(value)
            return f"{value:+.3f}" if signed else number(value, 2 if name == "threshold" else 3)
        return str(value)

    return [[cell(name, value) for name, value in row.items()] for row in rows]


def write_comparison(runs: Sequence[ScoredRun], out: Path, links: Sequence[str] = ()) -> list[Path]:
    """Write comparison.html, .csv, .md, .tex and .json, differences.csv; return their paths.

    Args:
        runs: Two or more runs; the first one is the reference.
        out: Folder to write to.
        links: Address of each run's own page, relative to ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows, differences = comparison_rows(runs), difference_rows(runs)
    listed = [(rows, f"Runs on {runs[0].report.num_images} images of {runs[0].truth.ann_file.name}")]
    if differences:
        listed.append((differences, f"Paired differences to {runs[0].name} with 95 % intervals"))
    html, md, tex = (out / f"comparison.{suffix}" for suffix in ("html", "md", "tex"))
    content = compare_page(runs, rows, differences, links)
    save_figures(content, out / "figures")
    html.write_text(content, encoding="utf-8")
    shown = [(list(table[0]), _shown(table), said) for table, said in listed]
    listing = (f"{said}\n\n{markdown_table(head, cells)}" for head, cells, said in shown)
    md.write_text("\n".join(listing), encoding="utf-8")
    tex.write_text("\n".join(latex_table(*one) for one in shown), encoding="utf-8")
    return [
        html,
        md,
        tex,
        write_csv(out / "comparison.csv", [list(rows[0]), *(list(row.values()) for row in rows)]),
        write_csv(out / "differences.csv", [list(DIFFERENCE), *(list(row.values()) for row in differences)]),
        write_json(out / "comparison.json", without_nan({"runs": rows, "differences": differences})),
    ]


def compare_page(
    runs: Sequence[ScoredRun], rows: Sequence[dict], differences: Sequence[dict], links: Sequence[str] = ()
) -> str:
    """The comparison as a page of its own."""
    names = [run.name for run in runs]
    best = [name in (*COCO, *LESION) for name in rows[0]]
    table = table_html(list(rows[0]), _shown(rows), best=best)
    if links:
        items = " ".join(f'<a href="{quote(link)}">{escape(name)}</a>' for name, link in zip(names, links, strict=True))
        table += f"<p>One page per run: {items}</p>\n"
    return page(
        f"{len(runs)} runs compared",
        f"{runs[0].report.num_images} images of {runs[0].truth.ann_file.name}",
        [
            ("Runs", table),
            ("Differences", _differences(runs[0], differences)),
            ("Curves", _curves(runs)),
            ("Set-up", text_html(SETUP_NOTE)),
        ],
    )


def _differences(first: ScoredRun, rows: Sequence[dict]) -> str:
    bootstrap = first.report.bootstrap
    if bootstrap is None or not rows:
        return ""
    taken = bootstrap.resampling
    return table_html(list(DIFFERENCE), _shown(rows)) + text_html(
        f"Run less {first.name}, both on the same {taken.num_draws} bootstrap draws of {taken.unit}; 95 % intervals. "
        "An interval without 0 is a difference that chance among patients does not explain; it says nothing about "
        "another training with another seed.",
        note=True,
    )


def _curves(runs: Sequence[ScoredRun]) -> str:
    pr = {run.name: np.nanmean(run.report.coco.pr_50, axis=0) for run in runs}
    found = {run.name: (run.report.froc.curve_rates, run.report.froc.curve_sensitivity) for run in runs}
    grid = np.linspace(0, 1, 201)
    curves = [confidence_curves(run.report.matches.events, len(run.report.classes), grid) for run in runs]
    f1 = {run.name: one.macro_f1 for run, one in zip(runs, curves, strict=True)}
    return (
        '<div class="plots">\n'
        + figure_html(plot_pr(pr, RECALLS), "Precision-recall, mean over the classes, COCO's rule at IoU 0.5")
        + figure_html(plot_f1_confidence(grid, f1, {}), "Macro F1 by score threshold, lesion level")
        + figure_html(plot_froc(found, FROC_RATES), "FROC: sensitivity by false positives per image")
        + "</div>\n"
    )

