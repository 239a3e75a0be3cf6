"""Facts of an image that stand beside its boxes: fields of a json, or a metadata.csv beside the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..records import UNKNOWN, Export, Record
from .listing import Listing
from .sheets import MISSING, SURPLUS, read_rows
from .values import LONG_TEXT, Scalar, age_of, scalar_of, sex_of, text_of

ALIASES = {
    "patient_id": ("patient_id", "patientid", "patient", "subject_id", "subject", "case_id"),
    "age": ("age", "patient_age", "patientage"),
    "sex": ("sex", "gender", "patient_sex", "patientsex"),
    "diagnosis": ("diagnosis",),
    "day": ("day", "offset"),
}
FILE_NAMES = ("file", "file_name", "filename", "image", "image_name")
TABLES = ("metadata.csv", "extra.csv")
OURS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
SKIPPED = ("id", "image_id", "file_name", "width", "height")  # said elsewhere; the size is looked at anyway


def take_facts(record: Record, facts: Mapping[str, object]) -> None:
    """Patient, age, sex and diagnosis go to the record where it has none yet, all else to ``record.extra``."""
    for key, value in _flat(facts):
        text = text_of(value)
        name = OURS.get(key.casefold(), "")
        if not text or key.casefold() in SKIPPED:
            continue
        if name == "patient_id":
            record.patient_id = record.patient_id or text
        elif name == "age":
            record.age = age_of(record, text) if record.age is None else record.age
        elif name == "sex":
            record.sex = sex_of(record, text) if record.sex is None else record.sex
        elif name == "diagnosis":
            record.diagnosis = text if record.diagnosis == UNKNOWN else record.diagnosis
        elif len(text) > LONG_TEXT:
            if not any(note.code == "long_text_left_out" and note.detail == key for note in record.notes):
                record.note("table", "long_text_left_out", key)
        else:
            record.extra.setdefault(name or key, _day(value) if name == "day" else scalar_of(value))


def add_tables(export: Path, source: Export, listing: Listing) -> None:
    """Facts from EXPORT/metadata.csv or extra.csv, matched by a column of file names."""
    for path in (export / name for name in TABLES):
        if not path.is_file():
            continue
        header, rows = read_rows(path)
        column = next((name for name in header if name.casefold() in FILE_NAMES), None)
        if column is None:
            source.remarks.append(f"{path.name} has no column {' or '.join(FILE_NAMES)} and is left out")
            continue
        records: dict[str, list[Record]] = {}
        for record in source.records:
            records.setdefault(record.file.partition("#")[0], []).append(record)
        unknown = 0
        for _, row in rows:
            found, _how = listing.find(row[column])
            own = records.get(found or "", [])
            unknown += not own
            for record in own:
                take_facts(record, {k: v for k, v in row.items() if k not in (column, SURPLUS, MISSING)})
        if unknown:
            source.remarks.append(f"{path.name}: {unknown} of {len(rows)} rows name no image of the export")
    source.has_patient_ids = any(record.patient_id for record in source.records)


def _flat(facts: Mapping[str, object]) -> list[tuple[str, object]]:
    """Scalars, those of nested mappings under their own names; lists are left out."""
    found: list[tuple[str, object]] = []
    for key, value in facts.items():
        if isinstance(value, dict):
            found += [(text_of(inner), own) for inner, own in value.items() if not isinstance(own, (dict, list))]
        elif not isinstance(value, list):
            found.append((text_of(key), value))
    return [(key, value) for key, value in found if key]


def _day(value: object) -> Scalar:
    """A day as number, whether the table has it as number or text."""
    text = text_of(value)
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and abs(number) < 1e9 else text
