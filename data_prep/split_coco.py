"""Splits COCO files anew, by patient and near-duplicates; images and annotations keep all their fields.

Command: ``python -m data_prep split COCO.json ... --to FOLDER`` or ``python -m data_prep split OUT --to FOLDER``.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .coco import command_line, side_files, write_json
from .dedup import group_numbers
from .errors import ExportError, OptionError
from .options import Options
from .records import UNKNOWN, Lesion, Record
from .split import assign_splits, leaks, wanted_shares


@dataclass
class Merged:
    """COCO files as one: images and annotations with ids that are unique over all of them."""

    images: list[dict]
    annotations: dict[int, list[dict]]
    categories: list[dict]
    info: dict


def split_files(
    sources: Sequence[Path], to: Path, options: Options, pairs: Path | None = None, patient_key: str = "patient_id"
) -> dict[str, dict]:
    """Write a COCO file per side (or two per fold) into ``to``; returns the counts of every side.

    Raises:
        ExportError: a source is no COCO file, or two of them do not fit together.
        OptionError: ``to`` holds something, or an option does not fit.
        EmptyResultError: a side stays empty.
    """
    wanted = wanted_shares(options)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise OptionError(f"--to {to} is not empty: name a new folder")
    files, names, pairs = _expand(sources, pairs)
    merged = merge(files)
    records = _records(merged, names, patient_key)
    _group(records, pairs)
    assign_splits(records, options)
    kept = [record for record in records if record.kept]
    images = {record.file: image for record, image in zip(records, merged.images, strict=True)}
    for name, own in side_files(kept, list(wanted), bool(options.folds)):
        _write(to / f"{name}.json", [images[record.file] for record in own], merged, options)
    return _counts(kept, wanted)


def merge(files: Sequence[Path]) -> Merged:
    """Read COCO files with the same categories; ids that occur twice are numbered anew."""
    merged = Merged([], defaultdict(list), [], {})
    for path in files:
        content = _read(path)
        if merged.categories and content["categories"] != merged.categories:
            raise ExportError(f"{path} has other categories than {files[0]}; give files of one data set")
        merged.categories, merged.info = content["categories"], merged.info or content.get("info", {})
        ids = {}
        for image in content["images"]:
            ids[image["id"]] = len(merged.images) + 1
            merged.images.append({**image, "id": ids[image["id"]]})
        for annotation in content["annotations"]:
            if annotation["image_id"] not in ids:
                raise ExportError(f"{path}: annotation {annotation.get('id')} names no image of the file; repair it")
            number = ids[annotation["image_id"]]
            merged.annotations[number].append({**annotation, "image_id": number})
    twice = [name for name, n in Counter(image["file_name"] for image in merged.images).items() if n > 1]
    if twice:
        raise ExportError(f"{twice[0]} occurs {'twice' if len(files) > 1 else 'more than once'} in the COCO files")
    number = 0
    for image in merged.images:
        for annotation in merged.annotations[image["id"]]:
            number += 1
            annotation["id"] = number
    return merged


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for image in content["images"]:
            image["id"], image["file_name"]
        for annotation in content["annotations"]:
            annotation["image_id"], annotation["category_id"], [float(value) for value in annotation["bbox"]]
        [category["id"] for category in content["categories"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"no field {error}" if isinstance(error, KeyError) else error
        raise ExportError(f"{path} is no COCO file ({what}); expected images, annotations, categories") from error
    return content


def _expand(sources: Sequence[Path], pairs: Path | None) -> tuple[list[Path], dict[str, str], Path | None]:
    """Files of the sources; for an output of data_prep also original by written name, and its pairs."""
    if len(sources) != 1 or not sources[0].is_dir():
        return list(sources), {}, pairs
    out = sources[0]
    files = sorted(path for path in (out / "annotations").glob("*.json") if not path.stem.endswith("_train"))
    if not files or not (out / "report.csv").is_file():
        raise ExportError(f"{out} is no output of data_prep: expected annotations/ and report.csv, or name COCO files")
    with (out / "report.csv").open(newline="", encoding="utf-8") as handle:
        names = {row["out_file"]: row["file"] for row in csv.DictReader(handle) if row["out_file"]}
    return files, names, pairs or out / "duplicate_pairs.csv"


def _records(merged: Merged, names: dict[str, str], patient_key: str) -> list[Record]:
    labels = {category["id"]: category.get("name", str(category["id"])) for category in merged.categories}
    records = []
    for image in merged.images:
        file = names.get(image["file_name"], image["file_name"])
        boxes = [(a["bbox"], labels.get(a["category_id"], "?")) for a in merged.annotations[image["id"]]]
        lesions = [Lesion((x, y, x + w, y + h), label) for (x, y, w, h), label in boxes]
        common = Counter(lesion.label for lesion in lesions).most_common(1)
        diagnosis = image.get("diagnosis") or (common[0][0] if common else UNKNOWN)
        patient = str(image.get(patient_key) or "")
        records.append(Record(file, Path(file), patient, diagnosis=diagnosis, lesions=lesions))
    if patient_key != "patient_id" and not any(record.patient_id for record in records):
        raise OptionError(f"--patient-key {patient_key}: no image has such a field")
    return records


def _group(records: Sequence[Record], pairs: Path | None) -> None:
    """Set `Record.group` from a csv of near-duplicate pairs; a file that is not among the images may link two."""
    if pairs is None:
        return
    try:
        with pairs.open(newline="", encoding="utf-8") as handle:
            links = [(row["a"], row["b"]) for row in csv.DictReader(handle)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise OptionError(f"--pairs {pairs}: {error}; expected a csv file with the columns a and b") from error
    number = {record.file: index for index, record in enumerate(records)}
    joined = [tuple(number.setdefault(file, len(number)) for file in link) for link in links]
    groups = group_numbers(len(number), [(a, b) for a, b in joined])
    for record in records:
        record.group = groups[number[record.file]]


def _write(path: Path, images: list[dict], merged: Merged, options: Options) -> None:
    annotations = [annotation for image in images for annotation in merged.annotations[image["id"]]]
    how = "leaky random" if options.leaky_random else "by patient and duplicate group"
    command = command_line(options).replace("-m data_prep EXPORT OUT", "-m data_prep split SOURCE --to FOLDER")
    description = f"{path.stem} side, split {how}, seed {options.seed}"
    info = {**merged.info, "description": description, "split_command": command}
    content = {"info": info, "licenses": [], "images": images, "annotations": annotations}
    write_json(path, {**content, "categories": merged.categories}, options.indent)


def _counts(kept: Sequence[Record], wanted: dict[str, float]) -> dict[str, dict]:
    counts: dict[str, dict] = {}
    for name, share in wanted.items():
        own = [record for record in kept if record.split == name]
        patients = len({record.patient_id for record in own if record.patient_id})
        boxes = sum(len(record.lesions) for record in own)
        counts[name] = {"images": len(own), "patients": patients, "boxes": boxes, "wanted": share}
    counts["leaks"] = {"found": leaks(kept)}
    return counts


def split_text(counts: dict[str, dict]) -> str:
    """The counts as the table that the command prints."""
    sides = {name: side for name, side in counts.items() if name != "leaks"}
    total = sum(side["images"] for side in sides.values())
    lines = [f"{'side':<10}{'images':>10}{'wanted':>9}{'got':>9}{'patients':>10}{'boxes':>10}"]
    for name, side in sides.items():
        shares = f"{side['wanted']:>9.1%}{side['images'] / total:>9.1%}"
        lines.append(f"{name:<10}{side['images']:>10}{shares}{side['patients']:>10}{side['boxes']:>10}")
    lines.append(f"patients or duplicate groups on two sides: {counts['leaks']['found']}")
    return "\n".join(lines) + "\n"


