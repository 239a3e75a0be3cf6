"""report.html: what a run found and did, to be read in a minute; one file without network, the same bytes each time.

Commands: ``python -m data_prep EXPORT OUT`` writes it at its end, ``python -m data_prep report OUT EXPORT`` again.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from ..images import write_whole
from .facts import Facts, collect
from .figures import draw_figures
from .pictures import conflicts, duplicate_groups, overlays, suspicious_boxes
from .tables import code_table, headline, remarks, sides_table, stage_table

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62em; margin: 1.5em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: .3em } h2 { font-size: 1.15em; margin: 1.8em 0 .4em; break-after: avoid }
p { margin: .4em 0 } .lead { font-size: 1.1em } .note, figcaption, small { color: #666; font-size: .85em }
.bad { color: #a02020; font-weight: 600 } .good { color: #2a6a3a; font-weight: 600 }
table { border-collapse: collapse; margin: .5em 0 }
th, td { padding: .15em .7em .15em 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee }
th { border-bottom: 1px solid #999; font-weight: 600 } .n { text-align: right; white-space: nowrap }
td:last-child { overflow-wrap: anywhere }
.row { margin: .4em 0 } .row > * { display: inline-block; vertical-align: top; margin: 0 1em .8em 0 }
figure { margin: 0; break-inside: avoid; overflow-wrap: anywhere; max-width: 25em } figure.small { width: 150px }
img { max-width: 100%; vertical-align: top } .pair img { max-width: 48%; margin-right: 3px }
.plots > figure { width: 27em; max-width: 96%; margin-right: .5em }
.group { border-left: 3px solid #ddd; padding-left: .6em; break-inside: avoid }
@page { margin: 12mm }
@media print { body { font-size: 10px; max-width: none; margin: 0; padding: 0 } }
"""


def write_report(out: Path, export: Path) -> Path:
    """Write OUT/report.html from the files of ``out``, with pictures of the originals in ``export``.

    An original that cannot be found or shown is named without a picture.

    Raises:
        OptionError: ``out`` is no output of data_prep.
    """
    path = out / "report.html"
    write_whole(path, render(collect(out), out, export).encode())
    return path


def render(facts: Facts, out: Path, export: Path) -> str:
    """The page."""
    plots = "\n".join(
        f'<figure><img src="{data}" alt="{escape(title)}. {escape(text)}">'
        f"<figcaption>{escape(title)}. {escape(text)}</figcaption></figure>"
        for title, text, data in draw_figures(facts)
    )
    sections = [
        ("Stages", stage_table(facts)),
        ("Split", sides_table(facts)),
        ("The kept images", f'<div class="row plots">{plots}</div>'),
        ("Near-duplicates", duplicate_groups(facts, export)),
        ("Label conflicts: the same view, two diagnoses", conflicts(facts, export)),
        ("Burned-in marks, before and after", overlays(facts, out, export)),
        ("Suspicious boxes", suspicious_boxes(facts, export)),
        ("Everything found", code_table(facts)),
    ]
    body = "".join(f"<section><h2>{escape(title)}</h2>{content}</section>\n" for title, content in sections if content)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>data_prep report</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>What was found and done</h1>\n{headline(facts)}\n"
        f"{body}{remarks(facts)}</body></html>\n"
    )
