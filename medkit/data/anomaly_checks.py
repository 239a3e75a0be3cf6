"""Checks of an anomaly set before anything learns from it; used by `read_anomaly`, each error names its cure."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from medkit.data.refusal import doubled, refuse
from medkit.errors import DatasetError

if TYPE_CHECKING:
    from medkit.data.anomaly_table import AnomalySet

HEALTHY, ANOMALOUS, UNKNOWN = 0, 1, -1


def check_files(found: AnomalySet) -> None:
    """Every file is there and listed once, and no patient has two roles."""
    for what, files in (("image", found.files), ("mask", [mask for mask in found.masks if mask])):
        absent = [file for file in files if not Path(file).is_file()]
        refuse(absent, f"{found.root}: {what}", "the file does not exist")
    refuse(doubled(found.files), f"{found.root}: image", "it is listed twice; each image has one role")
    roles_of = defaultdict(set)
    for patient, role in zip(found.patients.tolist(), found.roles.tolist(), strict=True):
        roles_of[patient].add(role)
    torn = sorted(patient for patient, roles in roles_of.items() if len(roles) > 1)
    if torn:
        raise DatasetError(
            f"{found.root}: {len(torn)} patients have more than one role (first: {torn[0]}, "
            f"{' and '.join(sorted(roles_of[torn[0]]))}), so numbers would be too good; write the set again with "
            "`python -m data_prep anomaly`, which splits by patient"
        )


def check_roles(found: AnomalySet) -> None:
    """There are healthy images, all of them healthy, and val and test hold both kinds, all labelled."""
    where, healthy = found.root, found.rows("healthy")
    if not len(healthy):
        raise DatasetError(f"{where} has no image of role healthy (set B); every method learns from such images")
    refuse(
        [found.files[row] for row in healthy if found.labels[row] == ANOMALOUS],
        f"{where}: image of role healthy",
        "its label says anomalous; give it the role mixed, or correct the label",
    )
    for role in ("val", "test"):
        rows = found.rows(role)
        unknown = [found.files[row] for row in rows if found.labels[row] == UNKNOWN]
        refuse(unknown, f"{where}: image of role {role}", "it has no label, so nothing can be judged by it")
        if len(rows) and len(set(found.labels[rows].tolist())) == 1:
            name = "anomalous" if found.labels[rows[0]] else "healthy"
            raise DatasetError(f"{where}: all {len(rows)} images of role {role} are {name}; both kinds are needed")


def check_no_shared_file(found: AnomalySet) -> None:
    """No file of val or test is also one of training: sizes first, and SHA-1 where those agree."""
    of_size: defaultdict[int, list[int]] = defaultdict(list)
    for row, file in enumerate(found.files):
        of_size[Path(file).stat().st_size].append(row)
    held_out = np.isin(found.roles, ("val", "test"))
    for rows in of_size.values():
        if len(set(held_out[rows].tolist())) == 1 and len(set(found.roles[rows].tolist())) == 1:
            continue
        first: dict[bytes, int] = {}
        for row in rows:
            twin = first.setdefault(hashlib.sha1(Path(found.files[row]).read_bytes()).digest(), row)
            if held_out[row] | held_out[twin] and found.roles[row] != found.roles[twin]:
                raise DatasetError(
                    f"{found.files[twin]} ({found.roles[twin]}) and {found.files[row]} ({found.roles[row]}) are the "
                    "same file, so numbers would be too good; `python -m data_prep anomaly` removes such copies"
                )


def remark(found: AnomalySet) -> None:
    """Log what is no error and yet to be known."""
    if found.contamination == 0:
        print_log(
            f"{found.root}: no image of role mixed is anomalous, so AUCp (healthy against mixed) will say nothing",
            logger="current",
            level=logging.WARNING,
        )
    some = found.files[:: max(1, len(found.files) // 500)]
    grey = sum(_is_grey(file) for file in some)
    if 0 < grey < len(some):
        print_log(
            f"{found.root}: {grey} of {len(some)} files looked at are grey, others colour; all are read as 3 channels",
            logger="current",
            level=logging.WARNING,
        )


def _is_grey(file: str) -> bool:
    with Image.open(file) as image:  # the header only
        return image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F")
