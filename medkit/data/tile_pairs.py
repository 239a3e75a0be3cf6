"""Pairs of tiles of one slide: closer than ``near`` they count as similar, farther apart than ``far`` as dissimilar.

Gildenblat and Klaiman, "Self-Supervised Similarity Learning for Digital Pathology", arXiv 1905.08139: 2 mm and 10 mm.
Pairs are drawn one by one and never listed, since a slide of 20 000 tiles has 200 million. `all_pairs` lists those of
small sets for evaluation. Command: ``python tools/train.py configs/spatial_siamese_slides.py``.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import cdist

from medkit.errors import DatasetError

_NEIGHBOURS = 64  # nearest tiles looked at first for one that does not overlap
_TRIES = 64  # far partners drawn at once, and anchors tried before all are searched


def pair_kinds(centres: np.ndarray, near: float, far: float) -> tuple[np.ndarray, np.ndarray]:
    """Near and far tiles of one slide, (N, N) bool each; both limits are strict, and no tile pairs with itself."""
    distance = cdist(centres, centres)  # (N, N)
    return (distance < near) & ~np.eye(len(centres), dtype=bool), distance > far


def all_pairs(slides: np.ndarray, centres: np.ndarray, near: float, far: float) -> tuple[np.ndarray, np.ndarray]:
    """All unordered near pairs and far pairs within slides, as indices (P, 2); for sets of some thousand tiles."""
    found: tuple[list, list] = ([], [])
    for slide in np.unique(slides):
        members = np.flatnonzero(slides == slide)
        for pairs, kind in zip(found, pair_kinds(centres[members], near, far), strict=True):
            pairs.append(members[np.argwhere(np.triu(kind))])
    near_pairs, far_pairs = (np.concatenate(pairs).reshape(-1, 2) for pairs in found)
    return near_pairs, far_pairs


@dataclass(frozen=True)
class MiningReport:
    """What a set of tiles offers: slides that lack one kind of pairs, by name, and tiles without a near partner."""

    num_tiles: int
    num_slides: int
    near_only: tuple[str, ...]
    without_near: tuple[str, ...]
    num_lonely: int

    def __str__(self) -> str:
        text = f"{self.num_tiles} tiles of {self.num_slides} slides"
        for names, what in ((self.near_only, "give near pairs only"), (self.without_near, "give no near pair")):
            if names:
                text += f"; {len(names)} slides {what} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})"
        return text + (f"; {self.num_lonely} tiles have no near partner" if self.num_lonely else "")


class PairMiner:
    """Draws pairs: slides uniformly (not tiles, else large slides would dominate), then a tile, then its partner.

    Args:
        slides: (N,) names or numbers.
        centres: (N, 2) tile centres, in the unit of ``near`` and ``far``.
        near: a partner nearer than this is similar; drawn uniformly from the disc without the tile itself.
        far: a partner farther away than this is dissimilar; drawn uniformly from all such tiles of the slide.
        sides: (N, 2) side lengths; if given, a near partner does not overlap the tile.

    Raises:
        DatasetError: no near pair or no far pair at all, or limits out of order.
    """

    def __init__(
        self, slides: np.ndarray, centres: np.ndarray, near: float, far: float, sides: np.ndarray | None = None
    ) -> None:
        if not 0 < near <= far:
            raise DatasetError(f"near={near} and far={far}; expected 0 < near <= far")
        self.near, self.far = near, far
        names = np.unique(slides)
        self._slides = [
            _Slide(members, centres[members], None if sides is None else sides[members], near, far)
            for members in (np.flatnonzero(slides == name) for name in names)
        ]
        self._with = {
            True: [slide for slide in self._slides if len(slide.near_anchors)],
            False: [slide for slide in self._slides if len(slide.far_anchors)],
        }
        self.report = MiningReport(
            num_tiles=len(slides),
            num_slides=len(names),
            near_only=tuple(str(n) for n, s in zip(names, self._slides, strict=True) if not len(s.far_anchors)),
            without_near=tuple(str(n) for n, s in zip(names, self._slides, strict=True) if not len(s.near_anchors)),
            num_lonely=sum(len(s.members) - len(s.near_anchors) for s in self._slides),
        )
        for similar, what in ((True, f"nearer than {near:g}"), (False, f"farther apart than {far:g}")):
            if not self._with[similar]:
                raise DatasetError(
                    f"no two tiles of a slide are {what} ({self.report}); check mpp and the unit of the limits, or "
                    "change them"
                )

    def draw(self, similar: bool, rng: np.random.Generator) -> tuple[int, int]:
        """Indices of one pair, of the kind that is asked for."""
        slides = self._with[similar]
        slide = slides[rng.integers(len(slides))]
        first, second = slide.near_pair(rng) if similar else slide.far_pair(rng)
        return int(slide.members[first]), int(slide.members[second])

    def draw_many(self, count: int, similar: bool, rng: np.random.Generator) -> np.ndarray:
        """(count, 2) indices; a pair may come twice."""
        return np.array([self.draw(similar, rng) for _ in range(count)]).reshape(-1, 2)


class _Slide:
    """Tiles of one slide; indices below count within it."""

    def __init__(
        self, members: np.ndarray, centres: np.ndarray, sides: np.ndarray | None, near: float, far: float
    ) -> None:
        self.members, self.centres, self.sides, self.near, self.far = members, centres, sides, near, far
        self.tree = cKDTree(centres)
        self.near_anchors = self._find_near_anchors()  # tiles that have a partner of the kind
        farthest = cdist(centres, _outline(centres)).max(axis=1)  # (n,)
        self.far_anchors = np.flatnonzero(farthest > far)

    def near_pair(self, rng: np.random.Generator) -> tuple[int, int]:
        anchor = self.near_anchors[rng.integers(len(self.near_anchors))]
        partners = self._near_partners(anchor)
        return anchor, partners[rng.integers(len(partners))]

    def far_pair(self, rng: np.random.Generator) -> tuple[int, int]:
        anchor = self.far_anchors[rng.integers(len(self.far_anchors))]
        candidates = rng.integers(len(self.centres), size=_TRIES)
        good = candidates[self._distance(anchor, candidates) > self.far]
        if len(good):
            return anchor, good[0]
        good = np.flatnonzero(self._distance(anchor, np.arange(len(self.centres))) > self.far)
        return anchor, good[rng.integers(len(good))]

    def _distance(self, anchor: int, others: np.ndarray) -> np.ndarray:
        return cdist(self.centres[anchor][None], self.centres[others])[0]

    def _near_partners(self, anchor: int) -> np.ndarray:
        inside = np.array(self.tree.query_ball_point(self.centres[anchor], self.near, return_sorted=True))
        inside = inside[(inside != anchor) & (self._distance(anchor, inside) < self.near)]
        return inside[~self._overlap(anchor, inside)]

    def _overlap(self, anchor: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        if self.sides is None:
            return np.zeros(others.shape, bool)
        gap = np.abs(self.centres[others] - self.centres[anchor])  # (..., 2)
        reach = (self.sides[others] + self.sides[anchor]) / 2 * (1 - 1e-9)  # tiles that touch do not overlap
        return (gap < reach).all(axis=-1)

    def _find_near_anchors(self) -> np.ndarray:
        """Tiles with a near partner: by the nearest ones, then, where all of those overlap, by the whole disc."""
        count = len(self.centres)
        if count < 2:
            return np.zeros(0, np.int64)
        k = 2 if self.sides is None else min(count, _NEIGHBOURS)
        distance, index = self.tree.query(self.centres, k=k)  # (n, k), the tile itself among them
        anchor = np.arange(count)[:, None]
        good = ((distance < self.near) & (index != anchor) & ~self._overlap(anchor, index)).any(axis=1)
        open_ = ~good & (distance[:, -1] < self.near) & (k < count)
        good[open_] = [len(self._near_partners(tile)) > 0 for tile in np.flatnonzero(open_)]
        return np.flatnonzero(good)


def _outline(centres: np.ndarray) -> np.ndarray:
    """The tiles among which the farthest from any tile is found: the convex hull's corners."""
    if len(centres) <= 256:
        return centres
    spread = centres - centres.mean(axis=0)
    if np.linalg.matrix_rank(spread) < 2:  # all on a line: its ends
        along = spread @ np.linalg.svd(spread, full_matrices=False)[2][0]
        return centres[[along.argmin(), along.argmax()]]
    return centres[ConvexHull(centres).vertices]
