"""The yaml file that describes a foreign export (``--columns map.yaml``): column names, box format, constants.

docs/data_prep_inputs.md lists every key with two worked examples. Unknown keys are errors, so that a slip of the pen
does not read as "not given".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..errors import ExportError
from .values import brief, shown

FACTS = ("file", "patient_id", "age", "sex", "diagnosis")
CORNERS = {
    "xyxy": ("x1", "y1", "x2", "y2"),
    "xywh": ("x", "y", "width", "height"),
    "cxcywh": ("cx", "cy", "width", "height"),
}
COLUMN_KEYS = (*FACTS, "boxes", "label", "frame", *dict.fromkeys(key for keys in CORNERS.values() for key in keys))
BOX_KEYS = ("format", "normalised", "separator", "value_separator")
TOP_KEYS = (
    *("table", "sheet", "separator", "images", "suffix", "columns", "boxes", "constants", "values"),
    *("extra", "frames_from", "colours", "label", "masks"),
)

Colour = tuple[int, int, int] | int


@dataclass(frozen=True)
class ColumnMap:
    """What the yaml file says.

    Attributes:
        columns: our name -> the table's name of a column.
        box_format: key of `CORNERS`.
        by_row: a row holds one box in columns of its own; else a cell holds all boxes of an image.
        separator: between the fields of a csv; "" finds it out.
        box_separator, value_separator: between boxes and between the numbers of a box in a cell.
        constants: our name -> a value for all rows. values: our name -> the table's value -> ours.
        extra: further columns to keep as facts of the image.
        suffix: appended to file names that have none.
        frames_from: 0 or 1, the number that the table gives the first frame of a multi-frame file.
        colours: class -> colour (or grey value) in a mask; label: class of a mask without colours.
        masks: ``blobs`` (each connected blob is a lesion), ``whole`` (each mask file is one), "" by layout.
    """

    path: Path | None = None
    table: str = ""
    sheet: str = ""
    images: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    box_format: str = "xyxy"
    normalised: bool = False
    separator: str = ""
    box_separator: str = ";"
    value_separator: str = ","
    constants: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    suffix: str = ""
    frames_from: int = 0
    colours: dict[str, Colour] = field(default_factory=dict)
    label: str = "lesion"
    masks: str = ""

    @property
    def by_row(self) -> bool:
        """True when the coordinates stand in columns of their own."""
        return self.columns.keys() >= set(CORNERS[self.box_format])


def load_columns(path: Path | None) -> ColumnMap:
    """Read and check the yaml file; without one, the empty map.

    Raises:
        ExportError: the file cannot be read, or a key or value makes no sense; it names file and key.
    """
    if path is None:
        return ColumnMap()
    try:  # BaseLoader leaves every scalar a string: no `no` that turns into False, no tags, nothing is built
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise ExportError(f"--columns {path}: {error.strerror or error}; expected a yaml file") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ExportError(f"--columns {path} cannot be read as yaml in UTF-8: {brief(error)}") from error
    top = _Node(path, "", content)
    top.allow(TOP_KEYS)
    boxes = top.child("boxes")
    boxes.allow(BOX_KEYS)
    columns = top.texts("columns", COLUMN_KEYS)
    return ColumnMap(
        path=path,
        table=top.text("table"),
        sheet=top.text("sheet"),
        images=top.text("images"),
        columns=columns,
        box_format=_box_format(boxes, columns),
        normalised=boxes.choice("normalised", "no", "false", "yes", "true") in ("yes", "true"),
        separator=top.separator("separator", ""),
        box_separator=boxes.separator("separator", ";"),
        value_separator=boxes.separator("value_separator", ","),
        constants=top.texts("constants", (*FACTS[1:], "label")),
        values={key: top.child("values").texts(key) for key in top.child("values").keys_of((*FACTS[1:], "label"))},
        extra=top.words("extra"),
        suffix=top.text("suffix"),
        frames_from=int(top.choice("frames_from", "0", "1")),
        colours={name: top.colour(name, value) for name, value in top.child("colours").mapping().items()},
        label=top.text("label") or "lesion",
        masks=top.choice("masks", "", "blobs", "whole"),
    )


def _box_format(boxes: _Node, columns: Mapping[str, str]) -> str:
    """The format that is named, else the one whose columns are mapped."""
    fits = [name for name, keys in CORNERS.items() if columns.keys() >= set(keys)]
    given = [key for key in columns if key in COLUMN_KEYS[8:]]
    if given and (len(fits) != 1 or set(given) != set(CORNERS[fits[0]]) or "boxes" in columns):
        sets = " | ".join(map(" ".join, CORNERS.values()))
        raise boxes.error(f"columns {', '.join(given)}", f"`boxes` alone, or exactly one of {sets}")
    named = boxes.choice("format", fits[0] if fits else "xyxy", *CORNERS)
    if fits and named != fits[0]:
        raise boxes.error(f"format {named} beside columns {', '.join(given)}", f"format {fits[0]}, or none")
    return named


@dataclass(frozen=True)
class _Node:
    """A mapping of the yaml file that knows where it stands, for the sake of its error messages."""

    path: Path
    place: str
    content: object

    def error(self, found: str, expected: str) -> ExportError:
        where = f" under {self.place}" if self.place else ""
        return ExportError(f"--columns {self.path}{where}: {brief(found)}: expected {expected}")

    def mapping(self) -> dict[str, object]:
        if self.content in (None, ""):
            return {}
        if not isinstance(self.content, dict) or not all(isinstance(key, str) for key in self.content):
            raise self.error(f"{shown(self.content)}", "a mapping, `key: value`")
        return self.content

    def keys_of(self, allowed: tuple[str, ...]) -> list[str]:
        self.allow(allowed)
        return list(self.mapping())

    def allow(self, allowed: tuple[str, ...]) -> None:
        odd = [key for key in self.mapping() if key not in allowed]
        if odd:
            raise self.error(f"unknown key {odd[0]!r}", f"one of {', '.join(allowed)}")

    def child(self, key: str) -> _Node:
        return _Node(self.path, f"{self.place}.{key}".strip("."), self.mapping().get(key))

    def text(self, key: str) -> str:
        value = self.mapping().get(key, "")
        if not isinstance(value, str):
            raise self.error(f"{key}: {shown(value)}", "one value")
        return value.strip()

    def texts(self, key: str, allowed: tuple[str, ...] | None = None) -> dict[str, str]:
        node = self.child(key)
        if allowed is not None:
            node.allow(allowed)
        return {name: node.text(name) for name in node.mapping()}

    def words(self, key: str) -> tuple[str, ...]:
        value = self.mapping().get(key, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.error(f"{key}: {shown(value)}", "a list of column names, [day, view]")
        return tuple(value)

    def choice(self, key: str, default: str, *others: str) -> str:
        value = self.text(key).casefold() or default
        if value not in (default, *others):
            raise self.error(f"{key}: {value!r}", f"one of {', '.join(dict.fromkeys((default, *others)))}")
        return value

    def separator(self, key: str, default: str) -> str:
        value = self.mapping().get(key, default)
        value = {"tab": "\t", "\\t": "\t", "blank": " "}.get(value, value) if isinstance(value, str) else ""
        if value != default and len(value) != 1:
            raise self.error(f"{key}: {value!r}", "one character, or tab, or blank")
        return value

    def colour(self, name: str, value: object) -> Colour:
        parts = value if isinstance(value, list) else [value]
        if isinstance(value, str) and value.startswith("#") and len(value) == 7:
            parts = [f"0x{value[place : place + 2]}" for place in (1, 3, 5)]
        try:
            numbers = [int(str(part), 0) for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3) or not all(0 <= number <= 255 for number in numbers):
            raise self.error(
                f"colours.{name}: {shown(value)}", "[R, G, B] or '#RRGGBB' or a grey value, each from 0 to 255"
            )
        return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else numbers[0]
