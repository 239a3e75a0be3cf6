"""Picture rows of report.html: duplicate groups, label conflicts, removed marks, suspicious boxes; small samples."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from .facts import Facts, Row, boxes_of
from .tables import many
from .thumbs import thumbnail, written_thumbnail

GROUPS, PER_GROUP, PAIRS, CONFLICTS = 2, 5, 4, 3
SUSPICIOUS = ("box_huge", "box_tiny", "box_clipped", "diagnosis_differs", "scale_on_lesion")
PER_CODE = 2


def figure(data: str, text: str, alt: str) -> str:
    """Small figure with caption; without a picture the caption alone."""
    image = f'<img src="{data}" alt="{escape(alt)}">' if data else "<small>(not shown)</small>"
    return f'<figure class="small">{image}<figcaption>{escape(text)}</figcaption></figure>'


def _row(figures: Sequence[str], text: str) -> str:
    return f'<div class="group"><small>{escape(text)}</small><div class="row">{" ".join(figures)}</div></div>'


def duplicate_groups(facts: Facts, export: Path) -> str:
    """The largest groups and the pairs that are least sure."""
    pairs = facts.pairs
    if not pairs.rows:
        return "<p>None was found.</p>"
    text = (
        f"<p>{many(len(pairs.rows))} pairs in {many(len(pairs.groups))} groups; the largest has "
        f"{many(len(pairs.groups[0]))} images. Shown are the largest groups, if larger than two, and the pairs that "
        "were least sure.</p>"
    )
    parts = []
    for group in (group for group in pairs.groups[:GROUPS] if len(group) > 2):
        shown = [figure(thumbnail(export, file), file, f"image {file}") for file in group[:PER_GROUP]]
        parts.append(_row(shown, f"{len(group)} images" + (f", {PER_GROUP} shown" if len(group) > PER_GROUP else "")))
    for a, b, distance, value in pairs.doubtful(PAIRS):
        shown = [figure(thumbnail(export, file), file, f"image {file}") for file in (a, b)]
        parts.append(_row(shown, f"hash distance {distance}, correlation {value:.3f}"))
    return f'{text}<div class="row">{" ".join(parts)}</div>'


def conflicts(facts: Facts, export: Path) -> str:
    """Some images that were dropped because their twin has another diagnosis."""
    rows: list[str] = []
    seen: set[frozenset[str]] = set()
    for row in facts.examples.get("label_conflict", ()):
        pair = frozenset((row["file"], row["partner"]))
        if pair not in seen and len(seen) < CONFLICTS:
            seen.add(pair)
            shown = [figure(thumbnail(export, file), file, f"image {file}") for file in (row["file"], row["partner"])]
            rows.append(_row(shown, row["detail"]))
    return f'<div class="row">{" ".join(rows)}</div>' if rows else "<p>None was found.</p>"


def overlays(facts: Facts, out: Path, export: Path) -> str:
    """Some images from which marks were removed, before and after."""
    if not facts.overlays:
        return "<p>None was removed.</p>"
    return f'<div class="row">{" ".join(_before_after(row, out, export) for row in facts.overlays)}</div>'


def _before_after(row: Row, out: Path, export: Path) -> str:
    before, after = thumbnail(export, row["file"], 190), written_thumbnail(out, row["out_file"], 190)
    marked = f", {row['overlay_in_boxes']} of them on lesions" if int(row["overlay_in_boxes"] or 0) else ""
    images = "".join(
        f'<img src="{data}" alt="{escape(row["file"])} {when}">' if data else "<small>(not shown)</small>"
        for data, when in ((before, "before"), (after, "after"))
    )
    text = f"{row['file']}: {row['overlay_pixels']} pixels{marked}"
    return f'<figure><div class="pair">{images}</div><figcaption>{escape(text)}</figcaption></figure>'


def suspicious_boxes(facts: Facts, export: Path) -> str:
    """Some images of each code that speaks of a doubtful box, with the boxes drawn."""
    shown = []
    for code in SUSPICIOUS:
        for row in facts.examples.get(code, ())[:PER_CODE]:
            boxes = boxes_of(row["boxes_before"])
            alt = f"{row['file']} with {len(boxes)} boxes"
            shown.append(figure(thumbnail(export, row["file"], 150, boxes), f"{code}: {row['file']}", alt))
    return f'<div class="row">{" ".join(shown)}</div>' if shown else "<p>None was found.</p>"
