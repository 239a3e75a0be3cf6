"""Compare what a run reported with what is known of its export: precision and recall of every stage.

Commands: ``python -m data_prep.measure PHANTOM OUT`` (a phantom export with its truth.csv; for the pixels of overlays
see `data_prep.measure_overlays`) and ``python -m data_prep.measure EXPORT OUT --pairs near_duplicate_pairs.csv``
(columns a and b).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import DataPrepError, ExportError

STAGES = ("table", "decode", "boxes", "size", "labels", "duplicates", "overlays", "split", "write")
MARKS = ("colour_scale", "caliper", "burned_text", "grey_bar")
UNREADABLE = ("unreadable", "truncated", "empty_file")
BAD_BOXES = ("box_outside", "box_empty", "box_inverted")
NO_BOX, OTHER_BOXES = "lesion_unlabelled, no box left", "lesion_unlabelled, other boxes stand"


@dataclass(frozen=True)
class Rule:
    """What report.csv must say of planted faults.

    Attributes:
        stage: where the fault is to be found; images that an earlier stage dropped do not reach it.
        kinds: kinds of truth.csv.
        codes: reasons or notes, any of which names the fault.
        also: further kinds that rightly get such a code.
        precise: no other rule has these codes, so precision has a meaning.
    """

    stage: str
    kinds: tuple[str, ...]
    codes: tuple[str, ...]
    also: tuple[str, ...] = ()
    precise: bool = True


RULES = (
    Rule("table", ("row_without_file",), ("no_file",)),
    Rule("table", ("file_without_row",), ("no_row",)),
    Rule("table", ("age_implausible",), ("age_implausible", "age_missing")),
    Rule("table", ("sex_odd",), ("sex_unknown", "sex_missing", "sex_rewritten")),
    Rule("decode", UNREADABLE, ("not_an_image", "truncated", "zero_bytes")),
    Rule("boxes", ("box_partly_outside",), ("box_clipped",)),
    *(Rule("boxes", (kind,), (kind,)) for kind in BAD_BOXES),
    Rule("size", ("small_frame",), ("too_small",)),
    Rule("labels", (NO_BOX,), ("lesion_without_box",), BAD_BOXES),
    Rule("labels", (OTHER_BOXES,), ("lesion_without_box",), precise=False),
    Rule("overlays", MARKS, ("scale_removed",)),
    *(Rule("overlays", (kind,), ("scale_removed",), precise=False) for kind in MARKS),
)


@dataclass(frozen=True)
class Score:
    """Counts of one rule.

    Attributes:
        stage, what: of the rule.
        planted, reached, found: faults in truth.csv, those that reach the stage, those that the report names.
        named, rightly: images with the code, and those of them with a planted fault that explains it.
        precise: whether `precision` has a meaning.
        missed, extra: the files where the report errs.
    """

    stage: str
    what: str
    planted: int
    reached: int
    found: int
    named: int
    rightly: int
    precise: bool = True
    missed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def recall(self) -> float:
        """Share of the faults reaching the stage that are named."""
        return self.found / self.reached if self.reached else 1.0

    @property
    def precision(self) -> float:
        """Share of the named images that have the fault."""
        return self.rightly / self.named if self.named else 1.0


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a csv file with a header.

    Raises:
        ExportError: it is not there or no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{path}: {error}; expected a csv file of a phantom export or of an output") from error


def codes_of(row: dict[str, str]) -> set[str]:
    """Reason and note codes of one row of report.csv."""
    notes = {note.split("(", 1)[0] for note in row["notes"].split("; ")}
    return (notes | {row["reason"]}) - {""}


def planted_faults(export: Path) -> dict[str, set[str]]:
    """Files by kind of fault; a left-out lesion counts by whether the table gives the frame any other box."""
    boxes = {row["file"]: row["boxes"] for row in read_rows(export / "table.csv")}
    planted: dict[str, set[str]] = defaultdict(set)
    for row in read_rows(export / "truth.csv"):
        kind = row["kind"]
        if kind == "lesion_unlabelled":
            kind = OTHER_BOXES if boxes.get(row["file"]) else NO_BOX
        planted[kind].add(row["file"])
    return planted


def compare_stages(export: Path, out: Path) -> list[Score]:
    """Every rule's score, in the order of the stages; near-duplicates count by pairs."""
    report = {row["file"]: row for row in read_rows(out / "report.csv")}
    planted = planted_faults(export)
    truth = [row for row in read_rows(export / "truth.csv") if row["kind"] == "near_duplicate"]
    pairs = [(row["file"], json.loads(row["detail"])["of"]) for row in truth]
    reached, named, both = compare_pairs(pairs, out)
    scores = [_score(rule, report, planted) for rule in RULES]
    scores.append(Score("duplicates", "near_duplicate (pairs)", len(pairs), reached, both, named, both))
    return sorted(scores, key=lambda score: STAGES.index(score.stage))


def _score(rule: Rule, report: dict[str, dict[str, str]], planted: dict[str, set[str]]) -> Score:
    wanted: set[str] = set().union(*(planted[kind] for kind in rule.kinds))
    right = wanted.union(*(planted[kind] for kind in rule.also))
    named = {file for file, row in report.items() if codes_of(row) & set(rule.codes)}
    early = STAGES[: STAGES.index(rule.stage)]
    away = {file for file in wanted - named if file in report and report[file]["stage"] in early}
    counts = (len(wanted), len(wanted - away), len(wanted & named), len(named), len(named & right))
    files = tuple(sorted(wanted - named - away)), tuple(sorted(named - right))
    return Score(rule.stage, " / ".join(rule.kinds), *counts, rule.precise, *files)


def compare_pairs(known: Iterable[tuple[str, str]], out: Path) -> tuple[int, int, int]:
    """Numbers of known pairs, of found pairs, and of pairs in both; names are compared without suffix.

    Known pairs with an image that an earlier stage dropped are not counted.
    """
    early = {_stem(row["file"]) for row in read_rows(out / "report.csv") if row["stage"] in STAGES[:5]}
    wanted = {frozenset(map(_stem, pair)) for pair in known}
    wanted = {pair for pair in wanted if not pair & early}
    found = {frozenset((_stem(row["a"]), _stem(row["b"]))) for row in read_rows(out / "duplicate_pairs.csv")}
    return len(wanted), len(found), len(wanted & found)


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()


def score_table(scores: Iterable[Score]) -> str:
    """The scores as a markdown table."""
    lines = [
        "| stage | planted fault | images | reach it | found | recall | named | precision | missed, wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for s in scores:
        named, precision = (str(s.named), f"{s.precision:.3f}") if s.precise else ("", "")
        files = " ".join([*s.missed[:1], *(s.extra[:1] if s.precise else ())])
        cells = (s.stage, s.what, s.planted, s.reached, s.found, f"{s.recall:.3f}", named, precision, files)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison."""
    from .measure_whole import compare_whole

    parser = argparse.ArgumentParser(prog="python -m data_prep.measure", description="Compare a run with the truth.")
    parser.add_argument("export", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, help="csv of known near-duplicate pairs, columns a and b")
    args = parser.parse_args(argv)
    try:
        if args.pairs:
            known, found, both = compare_pairs([(row["a"], row["b"]) for row in read_rows(args.pairs)], args.out)
            rates = f"recall {both / max(1, known):.3f}, precision {both / max(1, found):.3f}"
            print(f"pairs: known {known}, found {found}, both {both}: {rates}")
            return 0
        print(score_table(compare_stages(args.export, args.out)))
        print(compare_whole(args.export, args.out).text())
    except DataPrepError as error:
        print(f"data_prep.measure: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
