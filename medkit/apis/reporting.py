"""The report of one run, or the comparison of several, from what tools/test.py left. Command: tools/report.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from medkit.apis.report_audit import Audit, audit_runs, write_audit
from medkit.apis.report_compare import write_comparison
from medkit.apis.report_errors import confusions, false_positives, miss_map, misses, recall_by_size
from medkit.apis.report_page import headline, run_page
from medkit.apis.report_runs import ScoredRun, read_run
from medkit.errors import ConfigError
from medkit.evaluation.tables import write_csv
from medkit.visualization.html import save_figures

__all__ = ["report", "write_run"]


def report(
    folders: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    split: str = "test",
    data_root: str | Path | None = None,
    audit: bool = False,
    num_tiles: int = 12,
    num_draws: int = 1000,
) -> list[Path]:
    """Write the report of each run, and for several the comparison, the first one being the reference.

    Args:
        folders: Run folders that were tested with tools/test.py, see `read_run`.
        out: Folder to write to; default ``report`` in the folder of results, for several runs ``comparison`` beside
            the first run.
        split: Name of the folder of results in a run folder.
        data_root: Where the prepared data set is now; default: where the configs say.
        audit: Look for label errors too, seen by all runs together.
        num_tiles: Cut-outs in each gallery; 0 shows no images.
        num_draws: Bootstrap draws of the intervals; 0 for none.

    Returns:
        The paths of the pages.

    Raises:
        ConfigError, DatasetError: a run was not tested, its data set changed, or the runs are not comparable.
    """
    runs = [read_run(folder, split, data_root, num_draws, name) for folder, name in _named(folders)]
    found = audit_runs(runs) if audit else None
    if len(runs) == 1:
        target = Path(out) if out is not None else runs[0].folder / runs[0].split / "report"
        pages = [write_run(runs[0], target, found, num_tiles)]
    else:
        target = Path(out) if out is not None else runs[0].folder.parent / "comparison"
        pages = write_comparison(runs, target, [f"{run.name}/report.html" for run in runs])[:1]
        pages += [write_run(run, target / run.name, found, num_tiles) for run in runs]
    if found is not None:
        write_audit(found, runs[0].truth, target)
    return pages


def _named(folders: Sequence[str | Path]) -> list[tuple[Path, str]]:
    """A name for each folder: its own, or with its parent's where two are alike."""
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"a run is named twice in {', '.join(map(str, paths))}; name each run once")
    runs = [path.resolve().parent if (path / "predictions.json").is_file() else path.resolve() for path in paths]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.parent.name}-{run.name}" for run in runs]
    if len(set(names)) < len(names):
        names = [f"{number}-{name}" for number, name in enumerate(names, 1)]
    return list(zip(paths, names, strict=True))


def write_run(run: ScoredRun, out: Path, found: Audit | None = None, num_tiles: int = 12) -> Path:
    """Write report.html, its figures and the csv and json files behind it; return the page's path."""
    run.report.write(out)
    rows = [[said, *("" if math.isnan(v) else v for v in values)] for said, *values in headline(run.report)]
    write_csv(out / "headline.csv", [["metric", "value", "low", "high"], *rows])
    sizes = [(image["width"], image["height"]) for image in run.truth.images]
    _write_where(run, sizes, out)
    names = [*run.report.classes, ""]
    errors = [*misses(run.report), *false_positives(run.report), *confusions(run.report)]
    header = ["kind", "file_name", "x1", "y1", "x2", "y2", "truth", "prediction", "score"]
    lines = [[one.kind, run.truth.images[one.image]["file_name"], *(f"{v:.1f}" for v in one.bbox), names[one.label],
              names[one.called], f"{one.score:.4f}"] for one in errors]  # fmt: skip
    write_csv(out / "errors.csv", [header, *lines])
    html = run_page(run, found, num_tiles)
    save_figures(html, out / "figures")
    path = out / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def _write_where(run: ScoredRun, sizes: list[tuple[float, float]], out: Path) -> None:
    by_size = recall_by_size(run.report, sizes)
    rates = (by_size.found, by_size.low, by_size.high, by_size.named)
    columns = (by_size.edges[:-1], by_size.edges[1:], by_size.counts, *rates)
    header = ["side_percent_from", "side_percent_to", "lesions", "found", "found_low", "found_high", "named_rightly"]
    write_csv(out / "size.csv", [header, *(list(row) for row in zip(*columns, strict=True))])
    lesions, missed = miss_map(run.report, sizes)
    cells = [[row, column, lesions[row, column], missed[row, column]] for row in range(len(lesions))
             for column in range(lesions.shape[1])]  # fmt: skip
    write_csv(out / "place.csv", [["row", "column", "lesions", "missed"], *cells])
