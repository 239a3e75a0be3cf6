"""Report B's four figures as SVG data URIs: sex, age, image size and box-area share, each by diagnosis.

The bytes are the same for the same numbers: no date, fixed ids.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from typing import Any

import numpy as np

from .facts import BINS, Facts, diagnosis_order

SIZES = 7  # commonest image sizes that are shown
SEX_COLOURS = {"F": "#c98aa0", "M": "#6f94b8", "unknown": "#cccccc"}


def draw_figures(facts: Facts) -> list[tuple[str, str, str]]:
    """Title, description (for those who do not see it) and data URI of every figure."""
    names = sorted(facts.sizes, key=diagnosis_order(facts.summary["classes"]))
    labels = sorted(facts.shares, key=diagnosis_order(facts.summary["classes"]))
    return [
        ("Sex by diagnosis", _sexes_text(facts, names), _plot(_sexes, facts, names)),
        ("Age by diagnosis", _ages_text(facts, names), _plot(_ages, facts, names)),
        ("Image size by diagnosis", _sizes_text(facts, names), _plot(_sizes, facts, names)),
        ("Box area / image area by class", _shares_text(facts, labels), _plot(_shares, facts, labels)),
    ]


def expand(counts: Counter[int]) -> np.ndarray:
    """Sorted values, each as often as it was counted."""
    keys = sorted(counts)
    return np.repeat(np.array(keys, np.float64), [counts[key] for key in keys])


def area_shares(counts: Counter[int]) -> np.ndarray:
    """Box area / image area in percent, to the width of a bin."""
    return 100 * 10 ** ((expand(counts) + 0.5) / BINS)


def _plot(draw: Any, facts: Facts, names: list[str]) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        **{"svg.hashsalt": draw.__name__, "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False},
        **{"axes.spines.right": False, "axes.edgecolor": "#888888", "text.parse_math": False},
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot(), facts, names)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(text.getvalue().encode()).decode()}"


def _short(names: list[str]) -> list[str]:
    return [name if len(name) <= 14 else f"{name[:13]}…" for name in names]


def _sexes(axes: Any, facts: Facts, names: list[str]) -> None:
    place = np.arange(len(names))
    found = sorted({sex for counts in facts.sexes.values() for sex in counts}, key=lambda s: (s == "unknown", s))
    for number, sex in enumerate(found):
        heights = [facts.sexes[name][sex] for name in names]
        at = place + (number - (len(found) - 1) / 2) * 0.27
        bars = axes.bar(at, heights, 0.25, label=sex, color=SEX_COLOURS.get(sex, "#999999"))
        axes.bar_label(bars, [str(height or "") for height in heights], fontsize=7, color="#555555")
    axes.set_xticks(place, _short(names), fontsize=8)
    axes.set_ylabel("kept images")
    if found:
        axes.figure.legend(loc="outside upper right", frameon=False, ncols=len(found), fontsize=8)


def _boxes(axes: Any, values: list[np.ndarray], names: list[str]) -> None:
    """Box plots: median, quartiles, 5 % and 95 %."""
    shown = [(name, own) for name, own in zip(names, values, strict=True) if len(own)]
    stats = []
    for name, own in shown:
        low, first, middle, third, high = np.percentile(own, [5, 25, 50, 75, 95])
        stats.append({"label": name, "whislo": low, "q1": first, "med": middle, "q3": third, "whishi": high})
    if not stats:
        axes.text(0.5, 0.5, "nothing known", ha="center", transform=axes.transAxes, color="#777777")
        return
    looks = {"facecolor": "#d9e3ee", "edgecolor": "#4878a8"}
    axes.bxp(stats, showfliers=False, patch_artist=True, boxprops=looks, medianprops={"color": "#b05f2d"})
    axes.set_xticks(range(1, len(shown) + 1), [f"{_short([name])[0]}\n{len(own)}" for name, own in shown], fontsize=8)


def _ages(axes: Any, facts: Facts, names: list[str]) -> None:
    _boxes(axes, [expand(facts.ages[name]) for name in names], names)
    axes.set_ylabel("age (years), number of images below")


def _sizes(axes: Any, facts: Facts, names: list[str]) -> None:
    """Share of the commonest sizes within each diagnosis, as a shaded table."""
    total: Counter[tuple[int, int]] = Counter()
    for name in names:
        total.update(facts.sizes[name])
    common = sorted(sorted(total, key=lambda size: (-total[size], size))[:SIZES])
    shares = np.zeros((len(names), len(common) + 1))  # the last column: all other sizes
    for row, name in enumerate(names):
        counts = facts.sizes[name]
        own = [counts[size] for size in common]
        shares[row] = np.array([*own, counts.total() - sum(own)]) / max(1, counts.total())
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for row, column in np.argwhere(shares > 0):
        axes.text(column, row, f"{100 * shares[row, column]:.0f} %", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(common) + 1), [*(f"{w}\n{h}" for w, h in common), "other"], fontsize=8)
    axes.set_yticks(range(len(names)), _short(names))
    axes.set_xlabel("width over height (pixels); share of the diagnosis's images")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _shares(axes: Any, facts: Facts, names: list[str]) -> None:
    _boxes(axes, [area_shares(facts.shares[name]) for name in names], names)
    axes.set_yscale("log")
    axes.set_ylabel("box area, % of the image")
    axes.yaxis.set_major_formatter("{x:g}")


def _sexes_text(facts: Facts, names: list[str]) -> str:
    return "; ".join(f"{n}: " + ", ".join(f"{s} {c}" for s, c in sorted(facts.sexes[n].items())) for n in names)


def _ages_text(facts: Facts, names: list[str]) -> str:
    values = {name: expand(facts.ages[name]) for name in names}
    medians = ", ".join(f"{name} {np.median(own):.0f}" for name, own in values.items() if len(own))
    return f"line: median, box: quartiles, ends: 5 and 95 %; median age: {medians or 'not known'}"


def _sizes_text(facts: Facts, names: list[str]) -> str:
    common = {name: facts.sizes[name].most_common(1)[0][0] for name in names}
    return "commonest size: " + ", ".join(f"{name} {w} x {h}" for name, (w, h) in common.items())


def _shares_text(facts: Facts, names: list[str]) -> str:
    values = {name: area_shares(facts.shares[name]) for name in names}
    medians = ", ".join(f"{name} {np.median(own):.2g} %" for name, own in values.items())
    return f"as above; median: {medians or 'no boxes'}"
