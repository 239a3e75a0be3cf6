"""Headline and tables of report.html; every string that comes from the data is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from .codes import CODES
from .facts import Facts

SHOWN_LEAKS = 5


def table(head: Iterable[str], rows: Iterable[Iterable[str]], numbers: int = 0) -> str:
    """Table of ready HTML cells; the columns after the first up to ``numbers`` of them are set as numbers."""

    def line(cells: Iterable[str], tag: str) -> str:
        marked = (f'<{tag} class="n">' if 0 < i <= numbers else f"<{tag}>" for i, _ in enumerate(cells))
        return f"<tr>{''.join(f'{m}{c}</{tag}>' for m, c in zip(marked, cells, strict=True))}</tr>"

    return f"<table>{line(list(head), 'th')}{''.join(line(list(row), 'td') for row in rows)}</table>"


def many(number: int) -> str:
    """A number with thin spaces, 80 000."""
    return f"{number:,}".replace(",", "\u202f")


def percent(part: float, whole: float) -> str:
    """Share in percent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def headline(facts: Facts) -> str:
    """How many images stay, why the others do not, and whether the split leaks."""
    total = facts.summary["input_images"]
    stages = facts.summary["stages"]
    kept = stages[-1]["kept"]
    dropped = sorted(((n, code) for s in stages for code, n in s["dropped"].items()), reverse=True)
    why = ", ".join(f"{many(n)} {escape(code.replace('_', ' '))}" for n, code in dropped[:4])
    more = f", and {many(sum(n for n, _ in dropped[4:]))} for other reasons" if len(dropped) > 4 else ""
    text = f"<b>{many(kept)} of {many(total)} images stay</b> ({percent(kept, total)})."
    if dropped:
        text += f" Dropped: {why}{more}."
    return f'<p class="lead">{text}</p><p>{_leaks(facts)}</p>'


def _leaks(facts: Facts) -> str:
    found = facts.two_sides
    if not found:
        return '<span class="good">No patient and no near-duplicate pair stands on two sides of the split.</span>'
    names = ", ".join(map(escape, found[:SHOWN_LEAKS])) + (", ..." if len(found) > SHOWN_LEAKS else "")
    return (
        f'<span class="bad">The split leaks: {many(len(found))} patients or near-duplicate pairs stand on two sides '
        f"({names}).</span> A score on such a test side is too good."
    )


def stage_table(facts: Facts) -> str:
    """Images before and after every stage."""
    rows = []
    for stage in facts.summary["stages"]:
        why = ", ".join(f"{escape(code)} {many(n)}" for code, n in stage["dropped"].items())
        cells = (many(stage["before"]), many(sum(stage["dropped"].values())), many(stage["kept"]))
        rows.append([escape(stage["stage"]), *cells, why or f"<small>{escape(stage['what'])}</small>"])
    return table(("stage", "before", "dropped", "after", "why"), rows, numbers=3)


def sides_table(facts: Facts) -> str:
    """Sides of the split: wanted and got shares, patients, lesions by class."""
    summary = facts.summary
    sides = summary["split"]
    images = sum(side["images"] for side in sides.values())
    classes = summary["classes"]
    lesions = {name: sum(side["lesions"][name] for side in sides.values()) for name in classes}
    rows = []
    for name, side in sides.items():
        own = side["lesions"]
        shares = [f"{many(own[c])} <small>{percent(own[c], lesions[c])}</small>" for c in classes]
        wanted = f"{100 * summary['wanted'][name]:.1f} %"
        row = [many(side["images"]), wanted, percent(side["images"], images), many(side["patients"]), *shares]
        rows.append([escape(name), *row])
    head = ["side", "images", "wanted", "got", "patients", *(f"lesions: {escape(name)}" for name in classes)]
    rule = f'<p class="note">Split {escape(summary["split_rule"])}.</p>'
    return table(head, rows, numbers=len(head)) + rule


def code_table(facts: Facts) -> str:
    """Every code that occurred, how often, what it means and what to do."""
    counts = {note["code"]: note["times"] for note in facts.summary["notes"]}
    for stage in facts.summary["stages"]:
        for code, number in stage["dropped"].items():
            counts[code] = counts.get(code, 0) + number
    order = list(CODES)
    rows = []
    for code in sorted(counts, key=lambda c: (order.index(c) if c in CODES else len(order), c)):
        known = CODES.get(code)
        effect = "dropped" if known and known.drops else "noted"
        meaning = f"{escape(known.meaning)}. <small>To do: {escape(known.advice)}.</small>" if known else ""
        files = ", ".join(escape(row["file"]) for row in facts.examples.get(code, ())[:2])
        rows.append([escape(code), many(counts[code]), effect, meaning, f"<small>{files}</small>"])
    if not rows:
        return "<p>Nothing.</p>"
    note = '<p class="note">report.csv has a row for every input image with the details.</p>'
    return table(("code", "times", "effect", "meaning", "for instance"), rows, numbers=1) + note


def remarks(facts: Facts) -> str:
    """Remarks of the run, the command and the hash of the inputs."""
    summary = facts.summary
    lines = [escape(text) for text in summary["remarks"]]
    lines.append(f"{escape(summary['tool'])}, reader {escape(summary['reader'])}: {escape(summary['command'])}")
    lines.append(f"SHA-256 of the inputs: {escape(summary['inputs_sha256'])}")
    return f'<section><h2>Remarks</h2><p class="note">{"<br>".join(lines)}</p></section>'
