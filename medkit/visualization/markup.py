"""Plain tables as Markdown and as LaTeX (booktabs), for a paper or a README."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["latex_table", "markdown_table"]

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # fmt: skip


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A GitHub-flavoured table; all columns but the first are set right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[Any]], caption: str) -> str:
    r"""A table environment; needs ``\usepackage{booktabs}``."""
    body = "".join(f"    {' & '.join(_escaped(str(cell)) for cell in row)} \\\\\n" for row in rows)
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{_escaped(caption)}}}\n  \\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n    \\toprule\n"
        f"    {' & '.join(map(_escaped, header))} \\\\\n    \\midrule\n{body}    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
