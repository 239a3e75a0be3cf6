"""Compare found near-duplicates with known pairs or known clusters, over distances and correlations.

Commands: ``python -m data_prep.measure_duplicates IMAGES --pairs KNOWN.csv`` (columns a and b) and
``python -m data_prep.measure_duplicates IMAGES --clusters KNOWN.csv --columns image,source_tile_cluster``.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path, PurePosixPath

from .duplicates import Duplicates, find_duplicates, look_at
from .errors import DataPrepError

Pair = frozenset[str]


def known_pairs(path: Path, columns: tuple[str, str], clusters: bool) -> set[Pair]:
    """Pairs of names without suffix: the rows themselves, or all pairs of images with the same cluster.

    Raises:
        DataPrepError: a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise DataPrepError(f"{path}: no column {missing[0]}; expected {' and '.join(columns)}, name them by --columns")
    values = [(row[columns[0]], row[columns[1]]) for row in rows]
    if not clusters:
        return {frozenset((_stem(a), _stem(b))) for a, b in values}
    groups = defaultdict(list)
    for name, cluster in values:
        groups[cluster].append(_stem(name))
    return {frozenset(pair) for group in groups.values() for pair in combinations(group, 2)}


def compare(found: Duplicates, known: set[Pair]) -> dict[str, float]:
    """Counts, and precision and recall of the pairs as found and as linked into groups."""
    names = [_stem(file) for file in found.files]
    there = set(names)
    known = {pair for pair in known if pair <= there}
    pairs = {frozenset((names[pair.first], names[pair.second])) for pair in found.pairs}
    linked = {frozenset((names[a], names[b])) for group in found.groups for a, b in combinations(group, 2)}
    return {
        "pairs": len(pairs),
        "recall": len(pairs & known) / max(1, len(known)),
        "precision": len(pairs & known) / max(1, len(pairs)),
        "groups": len(found.groups),
        "in groups": sum(map(len, found.groups)),
        "group recall": len(linked & known) / max(1, len(known)),
        "group precision": len(linked & known) / max(1, len(linked)),
    }


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix("").as_posix()


def table_row(values: list) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values) + " |"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.measure_duplicates", description=__doc__)
    add = parser.add_argument
    add("images", type=Path)
    add("--pairs", type=Path, help="csv of known pairs")
    add("--clusters", type=Path, help="csv of images and their clusters")
    add("--columns", help="the two columns (default: a,b for pairs, image,cluster for clusters)")
    add("--distances", default="6,8,10,12,16")
    add("--correlations", default="0.88")
    add("--invariant", choices=["no", "yes", "both"], default="no")
    add("--min-size", type=int, default=0)
    add("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    args = parser.parse_args()
    if (args.pairs is None) == (args.clusters is None):
        parser.error("expected one of --pairs and --clusters")
    one, two = (args.columns or ("a,b" if args.pairs else "image,cluster")).split(",")
    known = known_pairs(args.pairs or args.clusters, (one, two), args.pairs is None)
    look = look_at(args.images, args.jobs, args.min_size)
    flat = Counter(probe.flat for probe in look.probes)[True]
    print(f"{len(look.files)} images, {flat} flat, {len(look.faults)} not readable, {len(known)} known pairs")
    header: list[str] = []
    for invariant in {"no": (False,), "yes": (True,), "both": (False, True)}[args.invariant]:
        for distance in map(int, args.distances.split(",")):
            for least in map(float, args.correlations.split(",")):
                values = compare(find_duplicates(look, distance, least, invariant), known)
                if not header:
                    header = ["invariant", "distance", "correlation", *values]
                    print(table_row(header), table_row(["---"] * len(header)), sep="\n")
                print(table_row(["yes" if invariant else "no", distance, f"{least:g}", *values.values()]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
