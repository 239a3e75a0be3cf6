"""Metadata that no single field gives away: ages against diagnoses, patients against themselves, empty exports.

Everything here is noted, nothing dropped: a rare case and a slip of the pen look alike.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ..records import Record

ADULT_FROM = 18  # years
ADULT_DISEASES = ("hcc", "hepatocellular carcinoma", "metastasis", "metastases", "malignant", "cholangiocarcinoma")
AGE_SPREAD = 20  # years that one patient may have been followed up


def check_metadata(records: Sequence[Record]) -> None:
    """Note what contradicts itself, in place."""
    for record in records:
        if record.kept:
            _age_against_diagnosis(record)
    by_patient: dict[str, list[Record]] = {}
    for record in records:
        if record.kept and record.patient_id:
            by_patient.setdefault(record.patient_id, []).append(record)
    for patient, own in sorted(by_patient.items()):
        sexes = sorted({record.sex for record in own if record.sex})
        ages = [record.age for record in own if record.age is not None]
        for record in own:
            if len(sexes) > 1:
                record.note("table", "patient_sexes_differ", f"patient {patient}: {' and '.join(sexes)}")
            if ages and max(ages) - min(ages) > AGE_SPREAD:
                record.note("table", "patient_ages_differ", f"patient {patient}: {min(ages)} to {max(ages)}")
    _names_alike(records)


def _age_against_diagnosis(record: Record) -> None:
    """An age of 0 was set to null by the reader; its note stands for it here."""
    diseases = {record.diagnosis, *(lesion.label for lesion in record.lesions)}
    adult = sorted(name for name in diseases if name.casefold() in ADULT_DISEASES)
    zero = any(note.code == "age_implausible" and note.detail.startswith("'0'") for note in record.notes)
    if adult and (zero or (record.age is not None and record.age < ADULT_FROM)):
        age = 0 if record.age is None else record.age
        record.note("table", "age_against_diagnosis", f"age {age} with {adult[0]}")


def _names_alike(records: Sequence[Record]) -> None:
    """Files that other systems cannot tell apart: names that differ in case or in Unicode form only."""
    forms: dict[str, list[Record]] = {}
    for record in records:
        forms.setdefault(unicodedata.normalize("NFC", record.file).casefold(), []).append(record)
    for own in forms.values():
        for record in own if len(own) > 1 else []:
            if record.kept:
                other = next(one.file for one in own if one is not record)
                record.note("table", "name_alike", f"differs from {other} in case or accents only")
