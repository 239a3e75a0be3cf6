"""White burned-in marks: letters, crosses and the dotted lines between crosses.

The beam of an ultrasound scanner is wide: across it, tissue cannot change from dark to white and back within
a few pixels. Ink can. So the search looks for bright strokes that are narrow and sharp from left to right,
and takes a group of them as letters only when it holds more of them than tissue ever shows; a cross also
needs a bar that is narrow and sharp from top to bottom, through its centre.
"""

from __future__ import annotations

import cv2
import numpy as np

from .rim import BLACK, near, window_of, with_rim

SHARP = 80  # grey levels that ink stands out of both neighbours, one pixel and a few pixels away
FAINT = 45  # the same for the dots of a line and the arms of a cross
STROKE = 9  # pixels; strokes are narrower
INK = 200  # grey value that a part of every mark reaches; grey ticks and body marks do not
FEW = 8  # the same for a group on black, where no tissue is
LETTERS = 22  # sharp pixels of a group that make it letters
ARM = 5  # pixels from the centre of a cross to the ends that are looked at
DENSE = 7  # of 255: mean of the sharp pixels over 17 x 17 that a cross or a letter reaches
FLANK = 10  # pixels to the left and right at which a flank is told from letters
NEAR = 14  # pixels from a cross within which its number stands
"""Numbers and single letters have fewer sharp pixels than `LETTERS`; beside a cross or a word they count."""


def _ridge(grey: np.ndarray, wide: tuple[int, int], narrow: tuple[int, int]) -> np.ndarray:
    thin = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones(wide, np.uint8))
    step = cv2.subtract(grey, cv2.erode(grey, np.ones(narrow, np.uint8)))
    return cv2.min(thin, step)


def find_white(grey: np.ndarray, inside: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks (H, W) uint8 0/255 of letters and of calipers in a grey frame (H, W).

    Args:
        grey: the frame.
        inside: not 0 in the scan area; only there can calipers lie.
        taken: not 0 where a coloured mark is known; a group that lies on one is not white.
    """
    nothing = np.zeros_like(grey)
    across = _ridge(grey, (1, STROKE), (1, 3))
    sharp = cv2.threshold(across, SHARP, 255, cv2.THRESH_BINARY)[1]
    if int(cv2.blur(sharp, (17, 17)).max()) < DENSE:
        return nothing, nothing
    down = _ridge(grey, (STROKE, 1), (3, 1))
    centres = find_crosses(grey, across, down, cv2.subtract(inside, near(taken, 2)))
    core = _letters(grey, sharp, taken, centres)
    lines = np.zeros_like(grey)
    for x, y in centres:
        cv2.drawMarker(lines, (x, y), 255, cv2.MARKER_CROSS, 2 * ARM + 3, 3)
    strong = cv2.max(across, down)
    _dotted_lines(lines, strong, centres)
    core = _with_beams(grey, _along_line(grey, core, across), down)
    letters = with_rim(grey, core)
    calipers = cv2.min(lines, cv2.threshold(strong, FAINT // 2, 255, cv2.THRESH_BINARY)[1])
    calipers = with_rim(grey, calipers)
    return letters, cv2.subtract(calipers, letters)


def find_crosses(
    grey: np.ndarray, across: np.ndarray, down: np.ndarray, inside: np.ndarray
) -> list[tuple[int, int]]:
    """Centres (x, y) of upright crosses in the scan area."""
    reach = 2 * ARM + 1
    upright = cv2.threshold(across, FAINT, 255, cv2.THRESH_BINARY)[1]
    level = cv2.threshold(down, FAINT, 255, cv2.THRESH_BINARY)[1]
    bars = cv2.blur(upright, (1, reach), borderType=cv2.BORDER_CONSTANT)
    beams = cv2.blur(level, (reach, 1), borderType=cv2.BORDER_CONSTANT)
    enough = 255 * (reach - 4) // reach - 1
    hit = cv2.threshold(cv2.min(cv2.min(bars, beams), inside), enough, 255, cv2.THRESH_BINARY)[1]
    if not cv2.countNonZero(hit):
        return []
    count, _, _, places = cv2.connectedComponentsWithStats(cv2.dilate(hit, np.ones((3, 3), np.uint8)))
    centres = [(round(x), round(y)) for x, y in places[1:count].tolist()]
    return [centre for centre in centres if _is_cross(grey, *centre)]


def _is_cross(grey: np.ndarray, x: int, y: int) -> bool:
    """Four arms of ink, and none in the four corners between them."""
    height, width = grey.shape
    if not (ARM + 1 <= x < width - ARM - 1 and ARM + 1 <= y < height - ARM - 1):
        return False
    patch = grey[y - ARM - 1 : y + ARM + 2, x - ARM - 1 : x + ARM + 2].astype(np.int32)
    middle = patch.shape[0] // 2
    column = patch[:, middle - 1 : middle + 2].max(axis=1)[1:-1]
    row = patch[middle - 1 : middle + 2].max(axis=0)[1:-1]
    corners = np.concatenate([patch[i : i + 3, j : j + 3].ravel() for i in (1, -4) for j in (1, -4)])
    arms = np.concatenate([column, row])
    ink = np.median(arms)
    return bool(np.sort(arms)[3] > 150 and ink > INK - 20 and ink - np.percentile(corners, 80) > 40)


def _letters(grey: np.ndarray, sharp: np.ndarray, taken: np.ndarray, centres: list[tuple[int, int]]) -> np.ndarray:
    """The sharp pixels that belong to letters: groups with enough of them, and small ones beside these."""
    wide = cv2.dilate(sharp, np.ones((5, 9), np.uint8))
    count, labels = cv2.connectedComponents(wide)
    spots = np.flatnonzero(sharp)
    part: np.ndarray = labels.ravel()[spots]
    size = np.bincount(part, minlength=count)
    bright = np.bincount(part, grey.ravel()[spots] >= INK, count)
    coloured = np.bincount(part, taken.ravel()[spots] > 0, count)
    white = (bright >= 0.04 * size) & (coloured < 0.3 * size)
    flank, apart = _sides(grey, spots, part, size)
    good = white & ((size >= LETTERS) & ~flank | (size >= FEW) & apart)
    seeds = np.zeros_like(sharp)
    seeds.ravel()[spots[good[part]]] = 255
    for x, y in centres:
        cv2.circle(seeds, (x, y), 2, 255, -1)
    reached = np.bincount(part, near(seeds, NEAR).ravel()[spots] > 0, count)
    good |= white & (size >= 5) & (reached > 0)
    core = np.zeros_like(sharp)
    core.ravel()[spots[good[part]]] = 255
    return core


def _along_line(grey: np.ndarray, core: np.ndarray, across: np.ndarray) -> np.ndarray:
    """``core`` and the fainter strokes in the same rows: the rest of a line of text, where it crosses bright tissue."""
    if not cv2.countNonZero(core):
        return core
    rows = slice(int(np.flatnonzero(core.any(axis=1))[0]), int(np.flatnonzero(core.any(axis=1))[-1]) + 1)
    part = core[rows].copy()
    faint = ((across[rows] > FAINT // 2) & (grey[rows] >= INK - 40)).astype(np.uint8) * 255
    beside = np.ones((1, 2 * NEAR + 1), np.uint8)
    count = -1
    while count != (count := cv2.countNonZero(part)):
        part = cv2.max(part, cv2.min(cv2.dilate(part, beside), faint))
    result = core.copy()
    result[rows] = part
    return result


def _with_beams(grey: np.ndarray, core: np.ndarray, down: np.ndarray) -> np.ndarray:
    """``core`` and the level strokes that run on from it, as far as the bar of a cross or a letter reaches."""
    if not cv2.countNonZero(core):
        return core
    window = window_of(core)
    part = np.ascontiguousarray(core[window])
    beams = ((down[window] > FAINT) & (grey[window] >= INK - 40)).astype(np.uint8) * 255
    for _ in range(ARM + 3):
        part = cv2.max(part, cv2.min(near(part, 1), beams))
    result = core.copy()
    result[window] = part
    return result


def _sides(
    grey: np.ndarray, spots: np.ndarray, part: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which groups run along the flank of the scan, and which stand on black.

    On a flank most pixels have black on one side, always the same, and tissue on the other.
    """
    mean = cv2.blur(grey, (5, 5))
    y, x = np.divmod(spots, grey.shape[1])
    left, right = mean[y, np.maximum(x - FLANK, 0)], mean[y, np.minimum(x + FLANK, grey.shape[1] - 1)]
    most = 0.6 * np.maximum(size, 1)
    sides = ((left < BLACK) & (right > 2 * BLACK), (right < BLACK) & (left > 2 * BLACK))
    flank = np.any([np.bincount(part, side, len(size)) > most for side in sides], axis=0)
    above, below = mean[np.maximum(y - 2 * FLANK, 0), x], mean[np.minimum(y + 2 * FLANK, grey.shape[0] - 1), x]
    dark = (above < BLACK) & (below < BLACK) & ((left < BLACK) | (right < BLACK))
    return flank, np.bincount(part, dark, len(size)) > most


def _dotted_lines(lines: np.ndarray, strong: np.ndarray, centres: list[tuple[int, int]]) -> None:
    """Draw into ``lines`` the segment between two crosses wherever bright dots stand along it."""
    dotted = near(strong, 1)
    for i, (x1, y1) in enumerate(centres):
        for x2, y2 in centres[i + 1 :]:
            length = float(np.hypot(x2 - x1, y2 - y1))
            if length < 4 * ARM:
                continue
            t = np.linspace(0, 1, int(length) + 1)
            t = t[(t * length > ARM + 2) & ((1 - t) * length > ARM + 2)]
            xs, ys = np.rint(x1 + t * (x2 - x1)).astype(int), np.rint(y1 + t * (y2 - y1)).astype(int)
            dots = dotted[ys, xs] > FAINT
            gaps = np.diff(np.flatnonzero(np.concatenate([[True], dots, [True]])))
            if dots.mean() > 0.3 and gaps.max() <= 16:
                cv2.line(lines, (x1, y1), (x2, y2), 255, 3)
