"""``python -m data_prep coco EXPORT FILE.json``: any layout as one COCO file; boxes are checked, nothing is cleaned."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path

from ..boxes import check_boxes
from ..coco import coco_dict, number_records, run_facts, write_json
from ..errors import OptionError, UnreadableImage
from ..images import decode
from ..options import Options
from ..readers import read_export
from ..records import Record
from .check import add_input_arguments

HELP = "any layout as one COCO file: boxes are checked, no image is cleaned, dropped as double or written"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("export", type=Path, help="folder of the raw export; it is only read")
    parser.add_argument("file", type=Path, help="json file to write; file_name is relative to the image folder")
    add_input_arguments(parser)
    parser.add_argument("--indent", type=int, help="indent the json by so many blanks")


def run(args: argparse.Namespace) -> None:
    """Write the file and print what it holds and what it leaves out."""
    if args.file.exists():
        raise OptionError(f"coco: {args.file} is there already; name a new file")
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else None
    values = {name: value for name, value in vars(args).items() if name not in ("export", "file", "classes")}
    options = Options(**values, classes=classes)
    source = read_export(args.export, options)
    digest = hashlib.sha256()
    for record in source.records:
        digest.update(repr((record.file, record.lesions, record.diagnosis)).encode())
        if record.kept:
            digest.update(_measure(record, source.classes))
    kept = [record for record in source.records if record.kept]
    facts = run_facts(source.records, options, source, digest.hexdigest())
    info = {"description": f"all of {source.reader}, not cleaned, not split"}
    info |= {name: facts[name] for name in ("version", "tool", "reader", "inputs_sha256")}
    write_json(args.file, coco_dict(kept, source.classes, number_records(kept), info), options.indent)
    left = Counter(record.reason for record in source.records if not record.kept)
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(left.items()))
    print(f"{args.file}: {len(kept)} images, {sum(len(record.lesions) for record in kept)} boxes")
    print(f"left out: {why or 'none'}")


def _measure(record: Record, classes: tuple[str, ...]) -> bytes:
    """Take the size of the picture and check the boxes against it; returns the content of the file."""
    try:
        picture = decode(record.path, record.frame)
    except UnreadableImage as error:
        record.drop("decode", error.reason, error.detail)
        return b""
    record.height, record.width = picture.pixels.shape[:2]
    check_boxes(record, classes)
    return picture.data
