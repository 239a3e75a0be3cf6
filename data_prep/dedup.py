"""Near-duplicates: candidates by hash, verified on pixels, grouped, and one frame of each kept.

A candidate is a pair within ``distance`` bits of pHash, or of equal pixels. It is a near-duplicate when the
scan areas, shrunk to 64 x 64, correlate at least `MIN_CORRELATION` at some shift of up to six of those
pixels (verify.py). Of two duplicates the better one stays: larger image, then more lesions, then fewer overlay
pixels, then the earlier file name. A frame is dropped only against a kept frame that it duplicates itself, never
through a chain. Command: ``python -m data_prep dedup IMAGES``; measured in docs/data_prep_duplicates.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .boxes import iou
from .hashing import turned_hashes
from .pairs import Pair, Pairs
from .probe import Probe
from .records import Box, Record
from .search import between_blocks, near_pair_blocks
from .verify import Verifier

DISTANCE = 12
MIN_CORRELATION = 0.88
SAME_LESION_IOU = 0.25
TURNS = 8
BLOCK = 1_000_000  # candidates verified together
LISTED = 64  # pairs of copies with equal pixels that are listed one by one; of more, those with the first copy


def find_pairs(
    probes: Sequence[Probe],
    thumbs: np.ndarray,
    distance: int = DISTANCE,
    min_correlation: float = MIN_CORRELATION,
    invariant: bool = False,
) -> Pairs:
    """All verified near-duplicate pairs. Flat frames take part by equal pixels only.

    Args:
        probes: of the images to compare.
        thumbs: (N, 64, 64) uint8, their scan areas; may be a memory map.
        distance: bits of 64 within which two hashes make a candidate.
        min_correlation: least correlation of the thumbnails.
        invariant: compare with the eight mirrored and rotated (by 90 degrees) versions too.
    """
    copies = equal_pixels(probes)
    use = np.array([group[0] for group in copies if not probes[group[0]].flat], np.int64)
    table = _search(probes, thumbs, use, distance, min_correlation, invariant)
    whole = np.concatenate(list(_with_copies(table, copies)))
    return Pairs(whole[np.lexsort((whole["second"], whole["first"]))])


def _search(
    probes: Sequence[Probe], thumbs: np.ndarray, use: np.ndarray, distance: int, least: float, invariant: bool
) -> np.ndarray:
    """Verified pairs among the images ``use``, whose pixels all differ, as a table of `Pairs`."""
    hashes = np.array([probes[index].hash for index in use], np.uint64)
    found = [_verified(near_pair_blocks(hashes, distance), Verifier(thumbs, use, least), 0)]
    if invariant:
        turned = turned_hashes(thumbs)[use]  # (N, 8)
        for number in range(1, TURNS):
            blocks = between_blocks(turned[:, 0], turned[:, number], distance)
            found.append(_verified(blocks, Verifier(thumbs, use, least, number), number))
    table = np.concatenate(found)
    table = table[np.lexsort((table["turn"], -table["correlation"], table["second"], table["first"]))]
    same = (np.diff(table["first"], prepend=-1) == 0) & (np.diff(table["second"], prepend=-1) == 0)
    table = table[~same]  # of several versions of a pair the best
    table["first"], table["second"] = use[table["first"]], use[table["second"]]
    return table


def _verified(blocks: Iterable[np.ndarray], verify: Verifier, number: int) -> np.ndarray:
    """Candidates that hold on the pixels, as a table of `Pairs`."""
    found = []
    for candidates in _gathered(blocks):
        pairs, values = verify(candidates)
        table = np.zeros(len(pairs), Pairs.TYPE)
        table["first"], table["second"], table["distance"] = pairs.T
        table["correlation"], table["turn"] = values, number
        found.append(table)
    return np.concatenate(found) if found else np.zeros(0, Pairs.TYPE)


def _gathered(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in blocks of about `BLOCK`."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= BLOCK:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def equal_pixels(probes: Sequence[Probe]) -> list[list[int]]:
    """Images by their pixels: a list for every different picture, in the order of the first of each."""
    by_digest = defaultdict(list)
    for index, probe in enumerate(probes):
        by_digest[probe.pixel_digest].append(index)
    return list(by_digest.values())


def _with_copies(table: np.ndarray, copies: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    """The table of pairs between first copies, and its rows for the other copies."""
    yield table
    more = {group[0]: group for group in copies if len(group) > 1}
    rows = []
    for group in more.values():
        every = len(group) * (len(group) - 1) // 2 <= LISTED
        firsts = range(len(group)) if every else range(1)
        rows += [(group[a], group[b], 0, 1.0, 0) for a in firsts for b in range(a + 1, len(group))]
    touched = np.isin(table["first"], list(more)) | np.isin(table["second"], list(more))
    for first, second, bits, value, turn in table[touched].tolist():
        one, two = more.get(first, [first]), more.get(second, [second])
        if len(one) * len(two) <= LISTED:
            listed = [(min(a, b), max(a, b), bits, value, turn) for a in one for b in two]
            rows += [row for row in listed if row[:2] != (first, second)]
    yield np.array(rows, Pairs.TYPE)


def group_numbers(count: int, links: Iterable[Sequence[int]]) -> list[int]:
    """Union-find: the number of the connected group of each of ``count`` items, numbered by first member."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in links:
        a, b = root(first), root(second)
        parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(item), len(numbers)) for item in range(count)]


def drop_duplicates(records: Sequence[Record], probes: Sequence[Probe], pairs: Sequence[Pair]) -> None:
    """Drop label conflicts and all but the best of near-duplicates, and set `Record.group`, in place.

    Copies with equal pixels are one picture here: what a pair says of one of them holds for all.
    """
    copies = equal_pixels(probes)
    picture = np.zeros(len(records), np.int64)
    for number, group in enumerate(copies):
        picture[group] = number
    table = Pairs.of(pairs).table
    links = picture[np.stack([table["first"], table["second"]], 1)] if len(table) else np.zeros((0, 2), np.int64)
    blocks = np.array_split(links, 1 + len(links) // 4096)
    groups = group_numbers(len(copies), (link for block in blocks for link in block.tolist()))
    numbers: dict[int, int] = {}
    for record, own in zip(records, picture.tolist(), strict=True):
        record.group = numbers.setdefault(groups[own], len(numbers))
    _drop_conflicts(records, copies, table, links)
    _drop_worse(records, probes, picture, table, links)


def _drop_conflicts(
    records: Sequence[Record], copies: Sequence[Sequence[int]], table: np.ndarray, links: np.ndarray
) -> None:
    """Near-duplicates with different diagnoses: one is wrong and nobody knows which, so both go."""
    names = [{records[index].diagnosis for index in group} for group in copies]
    for group, own in zip(copies, names, strict=True):
        if len(own) > 1:
            _drop_differing(records, group, group, Pair(0, 0, 0, 1.0))
    numbers: dict[frozenset[str], int] = {}
    kinds = np.array([numbers.setdefault(frozenset(own), len(numbers)) for own in names], np.int64)
    mixed = np.array([len(own) > 1 for own in names], bool)
    differ = (kinds[links[:, 0]] != kinds[links[:, 1]]) | mixed[links[:, 0]]
    for row, (one, two) in zip(table[differ].tolist(), links[differ].tolist(), strict=True):
        if one != two:
            _drop_differing(records, copies[one], copies[two], Pair(*row))
            _drop_differing(records, copies[two], copies[one], Pair(*row))


def _drop_differing(records: Sequence[Record], group: Sequence[int], others: Sequence[int], pair: Pair) -> None:
    """Drop the images of ``group`` that have a partner of another diagnosis among ``others``."""
    for index in group:
        own = records[index]
        partner = next((records[k] for k in others if records[k].diagnosis != own.diagnosis), None)
        if own.kept and partner is not None:
            _drop(own, partner, pair, "label_conflict")
            own.detail = f"{own.diagnosis} here, {partner.diagnosis} there"


def _drop_worse(
    records: Sequence[Record], probes: Sequence[Probe], picture: np.ndarray, table: np.ndarray, links: np.ndarray
) -> None:
    """Best image first: each stays, or is dropped against the staying one that it is most like."""
    near, rows, ends = _neighbours(links, int(picture.max(initial=-1)) + 1)
    stays = np.full(len(ends), -1)  # picture -> the image of it that stays
    paired = [i for i, own in enumerate(picture.tolist()) if ends[own + 1] > ends[own] and records[i].kept]
    for index in sorted(paired, key=lambda i: _preference(records[i], probes[i])):
        own = picture[index]
        here = slice(ends[own], ends[own + 1])
        rivals, found = stays[near[here]], table[rows[here]]
        rivals, found = rivals[rivals >= 0], found[rivals >= 0]
        if not len(rivals):
            stays[own] = index
            continue
        best = np.lexsort((rivals, found["distance"], -found["correlation"]))[0]
        partner = int(rivals[best])
        _drop(records[index], records[partner], Pair(*found[best].item()), "near_duplicate")
        _note_lost_boxes(records[index], probes[index], records[partner], probes[partner])


def _neighbours(links: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For picture k the entries ends[k]:ends[k + 1] of (neighbour pictures, rows of the link table)."""
    both = np.concatenate([links, links[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    return both[order, 1], order % max(1, len(links)), np.searchsorted(both[order, 0], np.arange(count + 1))


def _preference(record: Record, probe: Probe) -> tuple:
    """Sort key, best first."""
    return -probe.width * probe.height, -len(record.lesions), probe.overlay_pixels, record.file


def _drop(record: Record, partner: Record, pair: Pair, reason: str) -> None:
    record.drop("duplicates", reason, partner=partner.file)
    record.distance, record.correlation = pair.distance, pair.correlation


def _note_lost_boxes(record: Record, probe: Probe, partner: Record, other: Probe) -> None:
    """Say in the report which boxes of a dropped frame its kept partner does not have."""
    theirs = [(lesion.label, relative_box(lesion.box, other.scan_box)) for lesion in partner.lesions]
    lost = []
    for lesion in record.lesions:
        box = relative_box(lesion.box, probe.scan_box)
        if not any(label == lesion.label and iou(box, kept) >= SAME_LESION_IOU for label, kept in theirs):
            lost.append(f"{lesion.label} [{' '.join(f'{value:.6g}' for value in lesion.box)}]")
    if lost:
        record.note("duplicates", "boxes_only_here", ", ".join(lost))


def relative_box(box: Box, frame: tuple[int, int, int, int]) -> Box:
    """Box in fractions of another box, so that frames of different size compare."""
    width, height = max(1, frame[2] - frame[0]), max(1, frame[3] - frame[1])
    return (
        (box[0] - frame[0]) / width,
        (box[1] - frame[1]) / height,
        (box[2] - frame[0]) / width,
        (box[3] - frame[1]) / height,
    )
