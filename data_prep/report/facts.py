"""Everything that report.html shows, collected in one pass over the files of an output.

Memory is bounded by what is counted (patients, pairs, image sizes) and by small samples, not by the images.
"""

from __future__ import annotations

import csv
import heapq
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..dedup import group_numbers
from ..errors import OptionError

EXAMPLES = 4  # files shown of each code
BINS = 25  # of box area / image area, per decade
Row = dict[str, str]


@dataclass
class Pairs:
    """Verified near-duplicates: the pairs, and their groups, largest first."""

    rows: list[tuple[str, str, int, float]] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)

    def doubtful(self, count: int) -> list[tuple[str, str, int, float]]:
        """The pairs of the lowest correlation."""
        return heapq.nsmallest(count, self.rows, key=lambda row: (row[3], row[0], row[1]))


@dataclass
class Facts:
    """Counts and samples of a run.

    Attributes:
        summary: content of summary.json.
        sexes, ages, sizes: of kept images, by diagnosis; sizes are (width, height) of the originals.
        shares: box area / image area by class, as the number of the log bin.
        examples: rows of some images for every code.
        overlays: rows of images whose marks were removed.
        two_sides: patients and near-duplicate pairs that stand on two sides of the split.
    """

    summary: dict
    pairs: Pairs
    sexes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    ages: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    sizes: defaultdict[str, Counter[tuple[int, int]]] = field(default_factory=lambda: defaultdict(Counter))
    shares: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    examples: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    overlays: list[Row] = field(default_factory=list)
    two_sides: list[str] = field(default_factory=list)


def collect(out: Path) -> Facts:
    """Read an output folder.

    Raises:
        OptionError: it is none.
    """
    try:
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        facts = Facts(summary, read_pairs(out / "duplicate_pairs.csv"))
        sample = _OverlaySample()
        leaks = _Leaks(facts.pairs)
        for row in read_rows(out / "report.csv"):
            _count(facts, row)
            sample.see(row)
            leaks.see(row)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else error
        raise OptionError(f"{out} is no output of data_prep ({what}); run python -m data_prep EXPORT OUT") from error
    facts.overlays, facts.two_sides = sample.rows(), leaks.found()
    return facts


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a csv file, one at a time."""
    with path.open(newline="", encoding="utf-8") as handle:
        yield from csv.DictReader(handle)


def read_pairs(path: Path) -> Pairs:
    """Pairs of duplicate_pairs.csv and their groups."""
    rows = [(r["a"], r["b"], int(r["hash_distance"]), float(r["correlation"])) for r in read_rows(path)]
    number: dict[str, int] = {}
    links = [(number.setdefault(a, len(number)), number.setdefault(b, len(number))) for a, b, *_ in rows]
    members: defaultdict[int, list[str]] = defaultdict(list)
    for file, group in zip(number, group_numbers(len(number), links), strict=True):
        members[group].append(file)
    return Pairs(rows, sorted((sorted(group) for group in members.values()), key=lambda g: (-len(g), g)))


def boxes_of(text: str) -> list[tuple[float, float, float, float, str]]:
    """Boxes of a report row, ``x1,y1,x2,y2,class;...``."""
    entries = [part.split(",", 4) for part in text.split(";") if part.count(",") >= 4]
    return [(float(x1), float(y1), float(x2), float(y2), label) for x1, y1, x2, y2, label in entries]


def codes_of(row: Row) -> list[str]:
    """Reason and note codes of a report row."""
    notes = [note.split("(", 1)[0] for note in row["notes"].split("; ")]
    return [code for code in (row["reason"], *notes) if code]


def _count(facts: Facts, row: Row) -> None:
    for code in set(codes_of(row)):
        if len(facts.examples[code]) < EXAMPLES:
            facts.examples[code].append(row)
    if row["status"] == "dropped":
        return
    name = row["diagnosis"]
    facts.sexes[name][row["sex"] or "unknown"] += 1
    if row["age"]:
        facts.ages[name][int(row["age"])] += 1
    width, height = int(row["width"]), int(row["height"])
    facts.sizes[name][width, height] += 1
    for x1, y1, x2, y2, label in boxes_of(row["boxes_after"]):
        share = (x2 - x1) * (y2 - y1) / (width * height)
        facts.shares[label][math.floor(math.log10(max(share, 1e-9)) * BINS)] += 1


class _OverlaySample:
    """Rows with removed marks: the most pixels, the most pixels on lesions, and some of neither kind."""

    def __init__(self, each: int = 2) -> None:
        self.each = each
        self.heaps: dict[str, list[tuple[float, str, Row]]] = {"overlay_pixels": [], "overlay_in_boxes": [], "any": []}

    def see(self, row: Row) -> None:
        if row["status"] == "dropped" or not int(row["overlay_pixels"] or 0):
            return
        for name, heap in self.heaps.items():
            # "any": evenly over the files without remembering them, by the digits of a product of the bytes
            value = float(_mix(row["file"])) if name == "any" else float(row[name] or 0)
            if value:
                heapq.heappush(heap, (value, row["file"], row))
                if len(heap) > self.each:
                    heapq.heappop(heap)

    def rows(self) -> list[Row]:
        found = {file: row for heap in self.heaps.values() for _, file, row in sorted(heap, key=lambda e: e[:2])}
        return list(found.values())


def _mix(text: str) -> int:
    value = 1
    for byte in text.encode():
        value = (value * 1_000_003 ^ byte) % 4_294_967_291
    return value


class _Leaks:
    """An own look at the split, from the report alone: who stands on two sides?"""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.side_of: dict[str, str] = dict.fromkeys((file for row in pairs.rows for file in row[:2]), "")
        self.patients: dict[str, str] = {}
        self.torn: set[str] = set()

    def see(self, row: Row) -> None:
        side = row["split"]
        if row["file"] in self.side_of:
            self.side_of[row["file"]] = side
        if side and row["patient_id"] and self.patients.setdefault(row["patient_id"], side) != side:
            self.torn.add(row["patient_id"])

    def found(self) -> list[str]:
        sides = [(a, b, {self.side_of[a], self.side_of[b]} - {""}) for a, b, *_ in self.pairs.rows]
        return [*sorted(f"patient {name}" for name in self.torn), *(f"{a} = {b}" for a, b, on in sides if len(on) > 1)]


SortKey = Callable[[str], tuple]


def diagnosis_order(classes: list[str]) -> SortKey:
    """Sort key: the classes in their order, then the rest by name."""
    return lambda name: (classes.index(name) if name in classes else len(classes), name)
