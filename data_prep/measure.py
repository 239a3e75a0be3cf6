"""Compare what a run reported with what is known of its export.

Commands: ``python -m data_prep.measure PHANTOM OUT`` (a phantom export with its truth.csv) and
``python -m data_prep.measure EXPORT OUT --pairs near_duplicate_pairs.csv`` (columns a and b). Overlay masks are
compared by ``python -m data_prep.measure_overlays``.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

# What the report must say of an image with the fault: a reason, or the code of a note.
EXPECTED = {
    "unreadable": ("not_an_image", "truncated"),
    "truncated": ("truncated",),
    "empty_file": ("zero_bytes",),
    "row_without_file": ("no_file",),
    "file_without_row": ("no_row",),
    "small_frame": ("too_small",),
    "near_duplicate": ("near_duplicate",),
    "colour_scale": ("scale_removed",),
    "caliper": ("scale_removed",),
    "burned_text": ("scale_removed",),
    "grey_bar": ("scale_removed",),
    "box_partly_outside": ("box_clipped",),
    "box_outside": ("box_outside",),
    "box_empty": ("box_empty",),
    "box_inverted": ("box_inverted",),
    "lesion_unlabelled": ("lesion_without_box",),
    "age_implausible": ("age_implausible", "age_missing"),
    "sex_odd": ("sex_unknown", "sex_missing", "sex_rewritten"),
}
SEEN_LATER = (
    "near_duplicate",
    "colour_scale",
    "caliper",
    "burned_text",
    "grey_bar",
)  # an image dropped before that stage cannot show them


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a csv file with a header."""
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def codes_of(row: dict[str, str]) -> set[str]:
    """Reason and note codes of one row of report.csv."""
    notes = {note.split("(", 1)[0] for note in row["notes"].split("; ")}
    return (notes | {row["reason"]}) - {""}


def compare_faults(export: Path, out: Path) -> dict[str, tuple[int, int, list[str]]]:
    """For every planted kind: number planted, number named in the report, and the files where it is not."""
    report = {row["file"]: row for row in read_rows(out / "report.csv")}
    planted: dict[str, list[str]] = defaultdict(list)
    found: dict[str, int] = defaultdict(int)
    missed: dict[str, list[str]] = defaultdict(list)
    for truth in read_rows(export / "truth.csv"):
        kind, row = truth["kind"], report.get(truth["file"])
        named = set() if row is None else codes_of(row)
        if kind == "near_duplicate" and row is not None:
            other = report.get(json.loads(truth["detail"])["of"])
            if other is None or other["stage"] not in ("", "duplicates"):
                continue
            named |= codes_of(other)  # either of the two may be the one that stays
        if kind in SEEN_LATER and row and row["stage"] and not named & set(EXPECTED[kind]):
            continue
        planted[kind].append(truth["file"])
        if named & set(EXPECTED.get(kind, ())):
            found[kind] += 1
        else:
            missed[kind].append(truth["file"])
    return {kind: (len(files), found[kind], missed[kind]) for kind, files in sorted(planted.items())}


def compare_pairs(known: Iterable[tuple[str, str]], out: Path) -> tuple[int, int, int]:
    """Numbers of known pairs, of found pairs, and of pairs in both; names are compared without suffix.

    Known pairs with an image that an earlier stage dropped are not counted.
    """
    early = {_stem(row["file"]) for row in read_rows(out / "report.csv") if row["stage"] not in ("", "duplicates")}
    wanted = {frozenset(map(_stem, pair)) for pair in known}
    wanted = {pair for pair in wanted if not pair & early}
    found = {frozenset((_stem(row["a"]), _stem(row["b"]))) for row in read_rows(out / "duplicate_pairs.csv")}
    return len(wanted), len(found), len(wanted & found)


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()


def _rates(what: str, known: int, found: int, both: int) -> str:
    return (
        f"{what}: known {known}, found {found}, both {both}: "
        f"recall {both / max(1, known):.3f}, precision {both / max(1, found):.3f}"
    )


def main() -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.measure", description="Compare a run with the truth.")
    parser.add_argument("export", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, help="csv of known near-duplicate pairs, columns a and b")
    args = parser.parse_args()
    if args.pairs:
        listed = [(row["a"], row["b"]) for row in read_rows(args.pairs)]
        print(_rates("pairs", *compare_pairs(listed, args.out)))
        return 0
    for kind, (planted, found, missed) in compare_faults(args.export, args.out).items():
        print(f"{kind:<20} planted {planted:>5}  named {found:>5}  {' '.join(missed[:6])}")
    truth = [row for row in read_rows(args.export / "truth.csv") if row["kind"] == "near_duplicate"]
    pairs = [(row["file"], json.loads(row["detail"])["of"]) for row in truth]
    print(_rates("near-duplicate pairs", *compare_pairs(pairs, args.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
