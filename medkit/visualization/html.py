"""A self-contained HTML page: escaped tables, figures inline as SVG, pictures as data URIs; nothing from a network.

The same input gives the same bytes. Used by tools/report.py.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_html", "page", "picture_html", "save_figures", "section", "table_html", "text_html"]

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1c2126; background: #fff;
  max-width: 76rem; margin: 0 auto; padding: 1.5rem 1.2rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .6rem;
  border-top: 1px solid #d8dde2; } p { margin: .4rem 0; max-width: 62rem; } p.note { color: #56606a; font-size: .9em; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: .6em 0; font-variant-numeric: tabular-nums;
  font-size: .9em; } th, td { padding: .28em .7em; text-align: right; border-bottom: 1px solid #e4e8ec;
  white-space: nowrap; } th { background: #f3f5f7; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
tr.sum td { border-top: 2px solid #9aa4ae; font-weight: 600; } td.mark { background: #d8efdd; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: .5rem 0; flex: 0 1 auto; max-width: 100%; }
figure svg, figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .85em; color: #56606a; } nav a { margin-right: 1rem; } a { color: #0b5cad; }
@page { size: A4; margin: 14mm; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } nav { display: none; } h2 { break-after: avoid; }
  th, td { white-space: normal; padding: .2em .35em; } table { font-size: .75em; } .plots { display: block; }
  figure, table { break-inside: avoid; } .scroll { overflow: visible; } a { color: inherit; text-decoration: none; } }
"""


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole document.

    Args:
        title: Heading and title, plain text.
        subtitle: Line below it, plain text.
        sections: (heading as plain text, content as html), in order; those without content are left out.
    """
    shown = [(heading, content) for heading, content in sections if content]
    links = "".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading, _ in shown)
    body = "\n".join(section(heading, content) for heading, content in shown)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="note">{escape(subtitle)}</p>\n<nav>{links}</nav>\n{body}\n'
        "</body>\n</html>\n"
    )


def section(heading: str, content: str) -> str:
    """A section with a heading that the navigation links to."""
    return f'<section id="{_anchor(heading)}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>'


def text_html(text: str, note: bool = False) -> str:
    """A paragraph of plain text."""
    return f"<p{' class=note' if note else ''}>{escape(text)}</p>\n"


def table_html(
    header: Sequence[str], rows: Sequence[Sequence[Any]], last_is_sum: bool = False, best: Sequence[bool] = ()
) -> str:
    """A table; cells are plain text.

    Args:
        header: Names of the columns.
        rows: Cells, turned into text by `str`.
        last_is_sum: Set the last row off.
        best: For each column whether its highest number is to be marked.
    """
    marked = _marked(rows, best)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(
            f"<td{' class=mark' if (index, column) in marked else ''}>{escape(str(cell))}</td>"
            for column, cell in enumerate(row)
        )
        lines.append(f"<tr{' class=sum' if last_is_sum and index == len(rows) - 1 else ''}>{cells}</tr>")
    body = "\n".join(lines)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'


def _marked(rows: Sequence[Sequence[Any]], best: Sequence[bool]) -> set[tuple[int, int]]:
    """Cells (row, column) of the highest number in the columns of ``best``; none where all are equal."""
    marked: set[tuple[int, int]] = set()
    for column in (index for index, wanted in enumerate(best) if wanted):
        numbers = {}
        for index, row in enumerate(rows):
            if re.match(r"-?\d*\.?\d+", str(row[column])):
                numbers[index] = float(str(row[column]).split()[0])
        top = {index for index, number in numbers.items() if number == max(numbers.values())}
        if len(top) < len(numbers):
            marked |= {(index, column) for index in top}
    return marked


def figure_html(figure: Figure, caption: str) -> str:
    """A matplotlib figure as inline SVG with its text as text; the caption is plain text and what a reader hears."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medkit", "path.simplify_threshold": 0.3}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="none")
    svg = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    said = escape(caption)
    return f'<figure role="img" aria-label="{said}">\n{svg}<figcaption>{said}</figcaption></figure>\n'


def picture_html(figure: Figure, caption: str, dpi: int = 85, quality: int = 78) -> str:
    """A matplotlib figure as JPEG in a data URI, for what consists of pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpg", dpi=dpi, facecolor="white", pil_kwargs={"quality": quality, "optimize": True})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(caption)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>\n"


def save_figures(html: str, folder: Path) -> list[Path]:
    """Write the figures of a page as files, numbered, named by their caption: .svg, and .jpg for those of pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("[0-9][0-9]_*.svg"), *folder.glob("[0-9][0-9]_*.jpg")):
        old.unlink()  # of an earlier call, which may have had other figures
    paths = []
    found = re.findall(r"<figure[^>]*>\s*(.*?)<figcaption>(.*?)</figcaption></figure>", html, flags=re.DOTALL)
    for number, (content, caption) in enumerate(found, 1):
        picture = re.match(r'<img src="data:image/jpeg;base64,([^"]*)"', content)
        name = f"{number:02d}_{_anchor(unescape(caption))[:40].strip('-')}"
        paths.append(folder / f"{name}{'.svg' if picture is None else '.jpg'}")
        paths[-1].write_bytes(content.encode() if picture is None else base64.b64decode(picture[1]))
    return paths


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
