"""What ``python tools/retrieve.py`` does: build, query, add, remove, evaluate."""

import argparse
import csv
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from medkit.apis.case_encoders import CaseEncoder, EncoderSettings, open_encoder
from medkit.apis.case_evaluation import CaseEvaluation, compare_evaluations, evaluate_index, evaluation_rows
from medkit.apis.case_index import CaseIndex
from medkit.apis.case_page import HEADER, found_rows, write_case_page
from medkit.apis.cases import Case
from medkit.data.case_table import cut_lesions
from medkit.errors import ConfigError
from medkit.visualization.markup import markdown_table

__all__ = ["add", "build", "evaluate", "query", "remove"]


def build(args: argparse.Namespace) -> None:
    """Encode a folder and write the index."""
    checkpoint = None if args.checkpoint == "none" else str(Path(args.checkpoint).resolve())
    config = args.config if "::" in args.config else str(Path(args.config).resolve())
    settings = EncoderSettings(config, checkpoint, args.img_size, args.pool, args.seed, args.cfg_options)
    encoder = open_encoder(settings)
    source = args.data_root
    if args.lesions:
        source = cut_lesions(args.data_root, args.lesions).parent
    cases = encoder.cases(source, args.splits)
    metric = args.metric or encoder.metric
    index = CaseIndex.build(encoder.encode(cases), cases, encoder.fingerprint, metric, asdict(settings))
    index.save(args.index)
    print(_said(args.index, index))


def query(args: argparse.Namespace) -> None:
    """Print the nearest cases of each scan, and write a page."""
    index = CaseIndex.load(args.index)
    with redirect_stdout(sys.stderr):  # logged lines; what this prints is csv
        encoder = _encoder(index, args)
        queries = [_known(index, case, args) for source in args.scans for case in encoder.cases(source, args.splits)]
        codes = encoder.encode(queries)
    found = index.query(codes, args.k, fingerprint=encoder.fingerprint, subjects=queries)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("query", *HEADER))
    for case, nearest in zip(queries, found, strict=True):
        writer.writerows([case.case_id, *row] for row in found_rows(nearest))
    if args.page:
        print(f"{write_case_page(args.page, index, encoder, queries, found)}: {len(queries)} queries", file=sys.stderr)


def add(args: argparse.Namespace) -> None:
    """Encode what is new and write the index again."""
    index = CaseIndex.load(args.index)
    encoder = _encoder(index, args)
    cases = [_described(case, args) for source in args.scans for case in encoder.cases(source, args.splits)]
    index.add(encoder.encode(cases), cases, encoder.fingerprint)
    index.save(args.index)
    print(_said(args.index, index))


def remove(args: argparse.Namespace) -> None:
    """Take cases out, by name or by subject, and write the index again."""
    index = CaseIndex.load(args.index)
    of_subjects = {subject: index.of_subject(subject) for subject in args.subjects}
    if absent := [subject for subject, names in of_subjects.items() if not names]:
        raise ConfigError(f"the index holds no case of subject {absent[0]!r}; look at its name in a query's answer")
    names = [*args.cases, *(name for names in of_subjects.values() for name in names)]
    if not names:
        raise ConfigError("nothing to remove; name cases, or subjects with --subjects")
    index.remove(names)
    index.save(args.index)
    print(_said(args.index, index))


def evaluate(args: argparse.Namespace) -> None:
    """Print tables of one index or several, and the differences of each from the first."""
    results = [_evaluated(path, args) for path in args.indexes]
    for path, found in zip(args.indexes, results, strict=True):
        left = "".join(f"; left out: {number} {why}" for why, number in found.left_out.items())
        unit = found.bootstrap.resampling.unit
        print(f"{path}: {found.num_queries} queries; 95 % over {args.draws} draws of {unit}{left}\n")
        print(markdown_table(*evaluation_rows(found)))
    for path, found in zip(args.indexes[1:], results[1:], strict=True):
        print(f"{path} less {args.indexes[0]}, paired:\n")
        print(markdown_table(["metric", "difference", "95 %", "p"], _difference_rows(found, results[0])))


def _evaluated(path: Path, args: argparse.Namespace) -> CaseEvaluation:
    index = CaseIndex.load(path)
    queries = None
    if args.queries:
        encoder = _encoder(index, args)
        cases = encoder.cases(args.queries, args.splits)
        queries = encoder.encode(cases), cases, encoder.fingerprint
    return evaluate_index(index, args.k, queries, args.draws, args.seed, args.max_queries)


def _difference_rows(found: CaseEvaluation, first: CaseEvaluation) -> list[list[str]]:
    rows = compare_evaluations(found, first).items()
    return [
        [name, f"{one.estimate:+.3f}", f"[{one.low:+.3f}, {one.high:+.3f}]", f"{one.p:.2g}"]
        for name, one in rows
        if not name.startswith("chance")
    ]


def _encoder(index: CaseIndex, args: argparse.Namespace) -> CaseEncoder:
    """That of the index, from where it was, or from where the user says it is now."""
    if not {"config", "checkpoint"} <= index.about.keys():
        raise ConfigError("the index does not say how its codes were made (it was built from Python); query it there")
    settings = EncoderSettings(**index.about)
    if args.config:
        settings = replace(settings, config=args.config)
    if args.checkpoint:
        settings = replace(settings, checkpoint=None if args.checkpoint == "none" else args.checkpoint)
    return open_encoder(settings)


def _known(index: CaseIndex, case: Case, args: argparse.Namespace) -> Case:
    """A query with what the user says of it, or else, where its file is in the index, what that says."""
    case = _described(case, args)
    same = [one for one in index.cases if one.path == case.path]
    return same[0] if same and not case.subject else case


def _described(case: Case, args: argparse.Namespace) -> Case:
    given = {name: getattr(args, name) for name in ("subject", "label", "visit") if getattr(args, name)}
    return replace(case, **given)


def _said(path: Path, index: CaseIndex) -> str:
    labels: Sequence[str] = sorted({case.label for case in index.cases if case.label})
    counts = ", ".join(f"{sum(case.label == label for case in index.cases)} {label}" for label in labels)
    people = len({case.person for case in index.cases})
    width = int(np.shape(index.codes)[1])
    return f"{path}: {len(index)} cases of {people} subjects ({counts or 'no labels'}), codes of {width} numbers"
