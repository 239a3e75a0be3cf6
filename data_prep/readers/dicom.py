"""Reader for a folder of DICOM files, and the part that DICOM files need whatever the layout beside them.

A multi-frame file becomes a record per frame (``name.dcm#0003``, Record.frame 3, counted from 0). Boxes of tables,
COCO, ... are taken to be drawn on the stored frame and are moved into the cut scan region. Patient ids become
pseudonyms: BLAKE2b of the id, 64 bits, keyed with the content of ``--pseudonym-key FILE``. Without a key whoever has
this program can try out ids; a remark says so.
"""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path

from ..dicom import Facts, read_facts
from ..errors import ExportError, OptionError
from ..options import Options
from ..records import Export, Lesion, Record
from .listing import is_dicom, list_files
from .values import AGE_RANGE, age_of, sex_of


def read_dicom(export: Path, options: Options) -> Export:
    """Every DICOM file below the export; labels, if any, come from a metadata.csv or are unknown."""
    folder = export / "images" if (export / "images").is_dir() else export
    listing = list_files(folder, only_images=folder == export)
    records = [Record(file, path) for file, path in listing.files.items()]
    if not any(is_dicom(record.path) for record in records):
        raise ExportError(f"{folder} holds no DICOM file: expected *.dcm, or files with the mark DICM")
    return Export([*records, *listing.faults], options.classes or (), "dicom", True, listing.remarks)


def add_headers(source: Export, options: Options) -> None:
    """Complete the records of DICOM files from their headers, a record per frame; in place."""
    if not any(is_dicom(record.path) for record in source.records):
        return
    key = _key(options)
    named: dict[Path, set[int]] = {}
    for record in source.records:
        if record.frame is not None:
            named.setdefault(record.path, set()).add(record.frame)
    records: list[Record] = []
    whole = {record.path for record in source.records if record.frame is None}
    for path in sorted(named.keys() - whole):
        source.records += _unnamed(path, source.records, named[path])
    for record in source.records:
        if not is_dicom(record.path):
            records.append(record)
            continue
        facts = read_facts(record.path)
        for own in _frames(record, facts, named.get(record.path, set())):
            if own.kept:
                _fill(own, facts, options, key)
            _scrub(own, facts, options, key)
            records.append(own)
    source.records = records
    source.has_patient_ids = any(record.patient_id for record in records)
    if not (key or options.keep_patient_ids):
        source.remarks.append("patient ids are hashed without a key and can be guessed: give --pseudonym-key FILE")


def pseudonym(patient_id: str, key: bytes) -> str:
    """The same stable name for the same id and key; 16 hex digits after a P."""
    return "P" + hashlib.blake2b(patient_id.encode(), digest_size=8, key=key, person=b"data_prep").hexdigest()


def _key(options: Options) -> bytes:
    path = options.pseudonym_key
    if path is None:
        return b""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise OptionError(f"--pseudonym-key {path}: {error.strerror}; expected a file with a secret") from error
    if len(secret) < 16:
        raise OptionError(f"--pseudonym-key {path}: {len(secret)} bytes; expected at least 16 random ones")
    return hashlib.blake2b(secret, digest_size=64).digest()


def _frames(record: Record, facts: Facts, named: set[int]) -> list[Record]:
    """The record itself, or one for each frame; frames that the table names do not appear twice."""
    if not record.kept or facts.fault:
        if record.kept and facts.fault:
            record.drop("decode", *facts.fault)
        return [record]
    if record.frame is not None:
        if record.frame >= facts.frames:
            record.drop("table", "bad_frame", f"frame {record.frame} of {facts.frames}, counted from 0")
        return [record]
    if facts.frames == 1:
        return [record]
    records = []
    for frame in range(facts.frames):
        own = copy.deepcopy(record)
        own.file, own.frame = f"{record.file}#{frame:04}", frame
        if record.boxes_in:
            own.drop("table", "frame_not_named", f"boxes are given, not which of {facts.frames} frames they belong to")
        if frame not in named:
            records.append(own)
    return records


def _unnamed(path: Path, records: list[Record], named: set[int]) -> list[Record]:
    """Frames of a file that no row of the table names."""
    file = next(record.file for record in records if record.path == path).rpartition("#")[0]
    found = []
    for frame in sorted(set(range(read_facts(path).frames)) - named):
        record = Record(f"{file}#{frame:04}", path, frame=frame)
        record.drop("table", "no_row", "the table has no row for this frame")
        found.append(record)
    return found


def _fill(record: Record, facts: Facts, options: Options, key: bytes) -> None:
    """Patient, age, sex and device where the table had none; boxes moved into the cut region."""
    if facts.burned_in and not facts.regions and not options.keep_patient_ids:
        record.drop("table", "burned_in_text", "the header says so and names no scan region to cut to")
        return
    if facts.patient_id and record.patient_id in ("", facts.patient_id):
        record.patient_id = facts.patient_id if options.keep_patient_ids else pseudonym(facts.patient_id, key)
    if not record.patient_id:
        record.note("table", "patient_missing", "the image counts as a patient of its own")
    if record.age is None and facts.years is not None:
        if 0 < facts.years < AGE_RANGE[0]:
            record.age = 0  # an infant by the header's own unit, not the 0 that stands for "not known"
            record.extra["age_months"] = int(facts.years * 12)
        else:
            record.age = age_of(record, str(int(facts.years)))
    if record.sex is None and facts.sex:
        if len(facts.sex) == 1:
            record.sex = sex_of(record, facts.sex)
        else:
            record.note("table", "sex_unknown", "more than a letter; set to null")
    for name, value in facts.extra:
        record.extra.setdefault(name, value)
    if not facts.regions:
        record.note("table", "no_scan_region", "the whole frame is used; burned-in text may be in it")
    left, top, right, bottom = facts.crop
    record.lesions = [
        Lesion((x1 - left, y1 - top, x2 - left, y2 - top), lesion.label)
        for lesion in record.lesions
        for x1, y1, x2, y2 in [lesion.box]
    ]
    if record.mask_size == facts.size:
        record.mask_size = right - left, bottom - top


def _scrub(record: Record, facts: Facts, options: Options, key: bytes) -> None:
    """Replace names, ids and dates of the header in the file's name, and in what has been said about the file."""
    if options.keep_patient_ids:
        return
    for word in facts.identifiers:
        loose = re.escape(word)
        pattern = re.compile(loose if len(word) > 4 else rf"(?<![^\W_]){loose}(?![^\W_])", re.IGNORECASE)
        hidden = pseudonym(word, key)[:9]
        if pattern.search(record.file):
            record.note("table", "name_hidden", "the file's name held a word that the header gives as a person's")
        record.file, record.detail = pattern.sub(hidden, record.file), pattern.sub(hidden, record.detail)
        record.notes = [type(note)(note.stage, note.code, pattern.sub(hidden, note.detail)) for note in record.notes]
