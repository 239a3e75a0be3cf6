"""What must hold of a whole report of a phantom export; printed by ``python -m data_prep.measure PHANTOM OUT``."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .measure import read_rows


@dataclass(frozen=True)
class Whole:
    """Counts over a whole report.

    Attributes:
        inputs, rows: files and table rows of the export; rows of the report.
        odd: inputs without a row, rows without an input, kept images that were not written.
        sound, sound_dropped: images without a planted fault (nor the other frame of a planted pair), and those
            of them that were dropped, with the reason.
        boxes, boxes_right: boxes of kept images without a planted box fault, and those equal to the true ones.
    """

    inputs: int
    rows: int
    odd: list[str]
    sound: int
    sound_dropped: list[str]
    boxes: int
    boxes_right: int

    def text(self) -> str:
        """The counts as lines."""
        odd, dropped = " ".join(self.odd[:4]) or "none", " ".join(self.sound_dropped[:4])
        return (
            f"inputs {self.inputs}, rows of the report {self.rows}; without row, input or written file: {odd}\n"
            f"images without a planted fault {self.sound}, dropped of them {len(self.sound_dropped)} {dropped}\n"
            f"boxes of kept images without a box fault {self.boxes}, equal to the true ones {self.boxes_right}"
        )


def compare_whole(export: Path, out: Path) -> Whole:
    """Has every input its row, every kept image its file and its true boxes, and is nothing else dropped?"""
    rows = read_rows(out / "report.csv")
    truth = read_rows(export / "truth.csv")
    inputs = _inputs(export)
    names = {row["file"] for row in rows}
    kept = [row for row in rows if row["status"] != "dropped"]
    unwritten = [row["file"] for row in kept if not (out / "images" / row["out_file"]).is_file()]
    faulty = {row["file"] for row in truth}
    faulty |= {json.loads(row["detail"])["of"] for row in truth if row["kind"] == "near_duplicate"}
    sound = [row for row in rows if row["file"] not in faulty]
    boxes, right = _boxes(export, kept, {row["file"] for row in truth if row["kind"].startswith("box_")})
    return Whole(
        len(inputs),
        len(rows),
        sorted(inputs ^ names) + unwritten,
        len(sound),
        [f"{row['file']} ({row['reason']})" for row in sound if row["status"] == "dropped"],
        boxes,
        right,
    )


def _inputs(export: Path) -> set[str]:
    images = export / "images"
    files = {path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file()}
    return files | {row["file"] for row in read_rows(export / "table.csv")}


def _boxes(export: Path, kept: list[dict[str, str]], spoilt: set[str]) -> tuple[int, int]:
    """Boxes of kept images that stand in the report or in the truth, and those in both, to a tenth of a pixel."""
    true: dict[str, set[str]] = defaultdict(set)
    for row in read_rows(export / "truth_boxes.csv"):
        if row["labelled"] == "1":
            true[row["file"]].add(_key([row["x1"], row["y1"], row["x2"], row["y2"], row["class"]]))
    either = both = 0
    for row in kept:
        if row["file"] not in spoilt:
            found = {_key(box.split(",")) for box in row["boxes_after"].split(";") if box}
            either, both = either + len(found | true[row["file"]]), both + len(found & true[row["file"]])
    return either, both


def _key(parts: list[str]) -> str:
    return " ".join([*(f"{float(value):.1f}" for value in parts[:4]), parts[4]])
