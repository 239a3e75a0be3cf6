"""The files of a run beside its images: annotations, report.csv, duplicate_pairs.csv, summary, report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .coco import run_facts, write_annotations, write_json
from .images import write_whole
from .options import Options
from .records import Export
from .report import write_report
from .summary import report_csv, summarize, summary_text, table_csv

PAIR_COLUMNS = ("a", "b", "hash_distance", "correlation")


def write_results(
    folder: Path, export: Path, source: Export, pairs: Sequence[Sequence], digest: str, options: Options
) -> dict:
    """Write everything that is said of the records of ``source``; returns the summary.

    Args:
        folder: output folder, which holds the written images.
        export: the export, whose originals are shown in report.html.
        source: the read export, its records marked by all stages.
        pairs: verified near-duplicates, rows of `PAIR_COLUMNS`.
        digest: hash of the inputs.
        options: of the run.
    """
    records = source.records
    facts = run_facts(records, options, source, digest)
    summary = summarize(records, source.classes, facts)
    write_annotations([record for record in records if record.kept], source.classes, folder, facts, options)
    write_json(folder / "summary.json", summary, 2)
    write_whole(folder / "summary.txt", summary_text(summary).encode())
    write_whole(folder / "report.csv", report_csv(records).encode())
    write_whole(folder / "duplicate_pairs.csv", table_csv(PAIR_COLUMNS, pairs).encode())
    write_report(folder, export)
    return summary
