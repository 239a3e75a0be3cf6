"""Cells and header fields as values: text that can be printed, ages, sexes, numbers. Odd values become notes."""

from __future__ import annotations

import math
import re
import reprlib

from ..records import NORMAL, UNKNOWN, Record

SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
AGE_RANGE = (1, 110)  # years; 0 is what many systems store when the age is not known
LONG_TEXT = 200  # letters; longer texts are reports, which may name a person

Scalar = str | int | float | None


def text_of(value: object) -> str:
    """Text of a scalar without control characters or broken surrogates, stripped; "" for None and containers."""
    if value is None or isinstance(value, (dict, list, tuple, bytes)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text).strip()


def brief(value: object, limit: int = 200) -> str:
    """The beginning of a text for a message, on one line."""
    text = " ".join(text_of(str(value)).split())
    return text if len(text) <= limit else f"{text[:limit]}..."


def shown(value: object) -> str:
    """A short look at a value for a message, whatever it holds."""
    return text_of(reprlib.repr(value))


def scalar_of(value: object) -> Scalar:
    """A json scalar as it is when it is a finite number, else as text."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return text_of(value)


def number_of(value: object) -> float:
    """A number, NaN where it is none; booleans and containers are none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def age_of(record: Record, text: str) -> int | None:
    """Whole years within `AGE_RANGE`, else None and a note."""
    text = text.strip()
    value = number_of(text)
    if value.is_integer() and AGE_RANGE[0] <= value <= AGE_RANGE[1]:
        return int(value)
    record.note("table", "age_implausible" if text else "age_missing", f"{text!r} set to null")
    return None


def sex_of(record: Record, text: str) -> str | None:
    """M or F, else None and a note."""
    text = text.strip()
    sex = SEXES.get(text.casefold())
    if sex is None:
        record.note("table", "sex_unknown" if text else "sex_missing", f"{text!r} set to null")
    elif sex != text:
        record.note("table", "sex_rewritten", f"{text!r} read as {sex}")
    return sex


def diagnosis_from_boxes(record: Record) -> None:
    """Where a layout names no diagnosis: that of the boxes if they agree, `NORMAL` without any box, else unknown."""
    labels = {lesion.label for lesion in record.lesions}
    if len(labels) == 1:
        record.diagnosis = labels.pop()
    elif not labels and not record.boxes_in:
        record.diagnosis = NORMAL
        record.note("table", "empty_annotation", "no box: taken as a normal image")
    else:
        record.diagnosis = UNKNOWN
