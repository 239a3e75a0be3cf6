"""Roles of the images of an anomaly set: val and test, known-healthy (set B) and the unlabelled mix (set A).

Patients stay together (and whoever shares a copy of an image): sides as in `split`, then the training side is divided.
The contamination of A is exact to one image; B, val and test do not depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .anomaly_options import AnomalyOptions
from .anomaly_table import ANOMALOUS, HEALTHY
from .errors import EmptyResultError
from .records import UNKNOWN, Record
from .split import assign_splits, link_units, place_of

ROLES = ("mixed", "healthy", "val", "test")


def assign_roles(records: Sequence[Record], options: AnomalyOptions) -> None:
    """Set `Record.split` to the role; images that no role has room for are dropped.

    Raises:
        EmptyResultError: a role has too few images.
    """
    _assign_sides(records, options)
    train = [record for record in records if record.kept and record.split == "train"]
    linked = link_units([record for record in records if record.kept or record.stage == "duplicates"])
    units = [unit for members in linked if (unit := [r for r in members if r.kept and r.split == "train"])]
    # Patients with healthy images alone come first: the anomalous ones of a patient in B are of no use.
    units.sort(
        key=lambda unit: (
            not options.patches and any(record.diagnosis != HEALTHY for record in unit),
            place_of(unit, options),
            min(record.file for record in unit),
        )
    )
    total = sum(record.diagnosis == HEALTHY for record in train)
    wanted = options.healthy_size or round(options.healthy_share * total)
    if not 0 < wanted <= total:
        raise EmptyResultError(f"role healthy: {wanted} images wanted of {total} on the training side")
    rest = _take_healthy(units, wanted)
    _take_mixed(rest, options)


def _assign_sides(records: Sequence[Record], options: AnomalyOptions) -> None:
    kept = [record for record in records if record.kept]
    if not kept:
        reasons = Counter(record.reason for record in records)
        raise EmptyResultError(f"no image is left of {len(records)}: {dict(sorted(reasons.items()))}")
    assign_splits(records, options)
    for side in ("val", "test"):
        for record in kept:
            if record.split == side and record.diagnosis == UNKNOWN:
                record.drop("roles", "unlabelled", f"its patient is in {side}, where labels are needed")
        counts = Counter(record.diagnosis for record in kept if record.kept and record.split == side)
        if not counts[HEALTHY] or not counts[ANOMALOUS]:
            raise EmptyResultError(
                f"{side} has {counts[HEALTHY]} healthy and {counts[ANOMALOUS]} anomalous images: both are needed; give "
                "more patients, another --seed or another --split"
            )


def _take_healthy(units: Sequence[Sequence[Record]], wanted: int) -> list[Record]:
    """Fill ``healthy`` unit by unit; returns the images of the other units, in the order of the units."""
    found, rest = 0, []
    for unit in units:
        if found == wanted:
            rest += sorted(unit, key=lambda record: record.file)
            continue
        for record in sorted(unit, key=lambda record: record.file):
            if record.diagnosis == HEALTHY and found < wanted:
                record.split = "healthy"
                found += 1
            else:
                record.drop("roles", "surplus", "its patient is in healthy")
    return rest


def _take_mixed(rest: Sequence[Record], options: AnomalyOptions) -> None:
    healthy = [record for record in rest if record.diagnosis == HEALTHY]
    anomalous = [record for record in rest if record.diagnosis == ANOMALOUS]
    if options.contamination is None:
        chosen = list(rest)[: options.mixed_size or len(rest)]
    else:
        sick, well = mixed_counts(len(healthy), len(anomalous), options.contamination, options.mixed_size)
        chosen = healthy[:well] + anomalous[:sick]
    if not chosen:
        raise EmptyResultError("role mixed has no image: lower --healthy-share or --healthy-size")
    kept = {id(record) for record in chosen}
    for record in rest:
        if id(record) in kept:
            record.split = "mixed"
        elif record.diagnosis == UNKNOWN:
            record.drop("roles", "unlabelled", "with --contamination as-is it would be in mixed")
        else:
            record.drop("roles", "surplus", "mixed has the wanted contamination without it")


def mixed_counts(healthy: int, anomalous: int, contamination: float, size: int = 0) -> tuple[int, int]:
    """Anomalous and healthy images of ``mixed``: the most that gives the contamination, or ``size`` together.

    Raises:
        EmptyResultError: there are too few of one kind.
    """
    sizes = [size] if size else range(healthy + anomalous, 0, -1)
    for total in sizes:
        sick = round(contamination * total)
        if sick <= anomalous and total - sick <= healthy:
            return sick, total - sick
    raise EmptyResultError(
        f"role mixed: contamination {contamination:g} of {size or 'any number of'} images cannot be had of {healthy} "
        f"healthy and {anomalous} anomalous ones that are left; change --mixed-size, --healthy-size or --contamination"
    )
