"""Which image gets which fault: quotas that are drawn before anything is rendered.

A kind with rate r gets round(r * images) images, at least one when there are 40 images or more. Files that
cannot be read carry no other fault; small frames and the frames of a near-duplicate pair carry no scale, text
or bar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATES = {
    "unreadable": 0.004,
    "truncated": 0.004,
    "empty_file": 0.003,
    "row_without_file": 0.004,
    "near_duplicate": 0.06,
    "small_frame": 0.02,
    "colour_scale": 0.06,
    "caliper": 0.05,
    "burned_text": 0.04,
    "grey_bar": 0.03,
    "file_without_row": 0.004,
    "box_partly_outside": 0.008,
    "box_outside": 0.004,
    "box_empty": 0.004,
    "box_inverted": 0.006,
    "lesion_unlabelled": 0.015,
    "age_implausible": 0.015,
    "sex_odd": 0.015,
}
BROKEN = ("unreadable", "truncated", "empty_file", "row_without_file")
LABEL = ("box_partly_outside", "box_outside", "box_empty", "box_inverted", "lesion_unlabelled")
ODD_AGES = ("0", "999", "-5", "")
ODD_SEX = ("male", "f", "1", "U", "")


@dataclass(frozen=True)
class Truth:
    """One planted fault."""

    file: str
    kind: str
    detail: dict


def plan_faults(
    rng: np.random.Generator, frames_per_patient: list[int], has_lesions: list[bool], scale: float
) -> list[set[str]]:
    """The kinds of fault of every image, in image order; ``scale`` multiplies ``RATES``."""
    total = sum(frames_per_patient)
    plan: list[set[str]] = [set() for _ in range(total)]
    if scale <= 0:
        return plan
    first = np.repeat(np.cumsum([0, *frames_per_patient[:-1]]), frames_per_patient)
    ill = np.repeat(has_lesions, frames_per_patient)
    sources: set[int] = set()
    for kind, rate in RATES.items():
        quota = max(round(rate * scale * total), int(total >= 40))
        for index in rng.permutation(total):
            if quota == 0:
                break
            if kind in LABEL and not ill[index]:
                continue
            if not _fits(kind, int(index), plan, sources, int(first[index])):
                continue
            plan[index].add(kind)
            quota -= 1
            if kind == "near_duplicate":
                sources.add(int(index) - 1)
    return plan


def _fits(kind: str, index: int, plan: list[set[str]], sources: set[int], first: int) -> bool:
    have = plan[index]
    if have & set(BROKEN) or (kind in BROKEN and have):
        return False
    if kind == "near_duplicate":  # of the frame before it
        return index > first and not plan[index - 1] and index not in sources
    pair = "near_duplicate" in have or index in sources
    if kind == "small_frame":
        return not pair
    if kind in ("colour_scale", "burned_text", "grey_bar"):
        return not pair and "small_frame" not in have
    if kind == "file_without_row":
        return not have
    if "file_without_row" in have:
        return False
    return not (kind in LABEL and have & set(LABEL))


def spoil_box(
    kind: str, rng: np.random.Generator, box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A wrong version of ``box`` (xyxy) in a frame of ``size`` (width, height)."""
    x1, y1, x2, y2 = box
    if kind == "box_partly_outside":
        shift = size[0] - (x1 + (x2 - x1) * rng.uniform(0.3, 0.7))
        return round(x1 + shift, 1), y1, round(x2 + shift, 1), y2
    if kind == "box_outside":
        return round(x1 + size[0], 1), y1, round(x2 + size[0], 1), y2
    if kind == "box_empty":
        return (x1, y1, x1, y2) if rng.random() < 0.5 else (x1, y1, x1, y1)
    return x2, y2, x1, y1


def spoil_bytes(kind: str, rng: np.random.Generator, data: bytes) -> bytes:
    """The file content of an unreadable, truncated or empty file."""
    if kind == "unreadable":
        return rng.bytes(int(rng.integers(2000, 9000)))
    if kind == "truncated":
        return data[: int(len(data) * rng.uniform(0.15, 0.7))]
    return b""
