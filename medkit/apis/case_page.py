"""Queries and the cases found for them as one self-contained html page: pictures side by side, and a table.

Command: ``python tools/retrieve.py query cases.npz SCAN --page page.html``.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medkit.apis.case_encoders import CaseEncoder
from medkit.apis.case_index import CaseIndex
from medkit.apis.cases import Case, FoundCase
from medkit.errors import DatasetError
from medkit.visualization.html import page, picture_html, table_html, text_html
from medkit.visualization.retrieval import CaseTile, plot_retrieval

__all__ = ["case_page", "found_rows", "write_case_page"]

HEADER = ("rank", "case", "subject", "label", "visit", "distance")


def write_case_page(
    path: str | Path,
    index: CaseIndex,
    encoder: CaseEncoder,
    queries: Sequence[Case],
    found: Sequence[Sequence[FoundCase]],
) -> Path:
    """Write `case_page`.

    Raises:
        DatasetError: the file cannot be written.
    """
    path, html = Path(path), case_page(index, encoder, queries, found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"page {path} cannot be written: {error.strerror}; give another file") from error
    return path


def case_page(
    index: CaseIndex, encoder: CaseEncoder, queries: Sequence[Case], found: Sequence[Sequence[FoundCase]]
) -> str:
    """The page as text; a section for each query."""
    subjects = len({case.person for case in index.cases})
    how = "Euclidean distance of codes" if index.metric == "l2" else "1 - cosine similarity of features"
    about = f"{len(index)} cases of {subjects} subjects; {how}; {index.fingerprint.model}; not a medical device"
    sections = [
        (query.case_id, _section(index, encoder, query, nearest))
        for query, nearest in zip(queries, found, strict=True)
    ]
    return page("Similar cases", about, sections)


def found_rows(found: Sequence[FoundCase]) -> list[list[str]]:
    """Cells by `HEADER`."""
    return [
        [str(rank), one.case.case_id, one.case.subject, one.case.label, one.case.visit, f"{one.distance:.4g}"]
        for rank, one in enumerate(found, 1)
    ]


def _section(index: CaseIndex, encoder: CaseEncoder, query: Case, found: Sequence[FoundCase]) -> str:
    tile = CaseTile(encoder.views(query), ["query", *_lines(query)])
    figure = plot_retrieval(tile, [_tile(encoder, query, rank, one) for rank, one in enumerate(found, 1)])
    picture = picture_html(figure, f"{query.case_id} (left) and the {len(found)} nearest cases of other subjects", 100)
    return text_html(_vote(index, found)) + picture + table_html(HEADER, found_rows(found))


def _tile(encoder: CaseEncoder, query: Case, rank: int, one: FoundCase) -> CaseTile:
    try:
        views = encoder.views(one.case)
    except DatasetError:  # its code is in the index, whatever became of the file: the tile says "no picture"
        views = []
    agrees = one.case.label == query.label if one.case.label and query.label else None
    return CaseTile(views, [f"{rank}: distance {one.distance:.3g}", *_lines(one.case)], agrees)


def _lines(case: Case) -> list[str]:
    """Label and visit, subject, each shortened to the width of a picture."""
    what = ", ".join(filter(None, (case.label, case.visit and f"visit {case.visit}"))) or "label unknown"
    return [text if len(text) <= 28 else f"...{text[-25:]}" for text in (what, case.subject or case.case_id)]


def _vote(index: CaseIndex, found: Sequence[FoundCase]) -> str:
    """Labels found, beside how frequent they are in the index."""
    near, all_cases = (Counter(case.label or "unknown" for case in cases)
                       for cases in ([one.case for one in found], index.cases))  # fmt: skip
    parts = [f"{label} {n} ({all_cases[label] / len(index):.0%} of the index)" for label, n in near.most_common()]
    return f"Labels of the {len(found)} nearest: {', '.join(parts)}"
