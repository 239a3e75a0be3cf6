"""What machines and people write over a frame: regular marks, and the overlays that count as faults."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from data_prep.phantom.geometry import Sector

BLUE, YELLOW, WHITE = (255, 90, 20), (20, 235, 250), (235, 235, 235)  # BGR
COLOURS = {"blue": BLUE, "yellow": YELLOW}
FONT = cv2.FONT_HERSHEY_SIMPLEX
WORDS = (
    "LIVER RT LOBE",
    "RT LOBE SAG",
    "LIVER LT",
    "S5",
    "S8 TRANS",
    "SEG VI",
    "SUBCOSTAL",
    "IC",
    "LIVER TUMOR",
)


def draw_marks(image: np.ndarray, sector: Sector, ticks: str, mark: str) -> None:
    """Depth ticks and body mark of a machine, in place: in the dark surround, part of regular frames."""
    grey = 150
    for depth in np.arange(10, sector.depth_mm, 10.0):
        if ticks == "edge":
            angle = sector.half_angle + 0.02
            r = sector.radius_mm + depth
            x, y = sector.to_pixels(
                np.array([r * np.sin(angle), r * np.cos(angle) - sector.radius_mm])
            ).astype(int)
        elif ticks == "right":
            x, y = sector.width - 6, int(sector.top + depth * sector.px_per_mm)
        elif ticks == "bottom":
            x, y = int(sector.cx + (depth - 60) * sector.px_per_mm), sector.height - 4
        else:
            break
        size = 3 if round(depth) % 50 == 0 else 1
        if 0 <= x < sector.width and 0 <= y < sector.height:
            image[max(y - size // 2, 0) : y + 1, max(x - size + 1, 0) : x + 1] = grey
    _draw_mark(image, sector, mark)


def _draw_mark(image: np.ndarray, sector: Sector, mark: str) -> None:
    h, w = image.shape[:2]
    unit = max(h // 60, 4)
    if mark == "arrow":
        x, y = (
            int(sector.to_pixels(np.array([sector.radius_mm * np.sin(sector.half_angle) + 8, 0]))[0]),
            2 * unit,
        )
        cv2.fillPoly(
            image, [np.array([[x, y], [x + unit, y - unit // 2], [x + unit, y + unit // 2]])], (190, 190, 190)
        )
    elif mark == "probe":
        x, y = 3 * unit, 3 * unit
        cv2.circle(image, (x, y), unit, (170, 170, 170), 1, cv2.LINE_AA)
        cv2.line(image, (x - unit // 2, y), (x + unit // 2, y), (170, 170, 170), 1)
    elif mark == "body":
        x, y = w - 8 * unit, h - 7 * unit
        body = np.array([[0, 0], [5, 0], [4, 3], [5, 6], [0, 6], [1, 3]]) * unit + (x, y)
        cv2.polylines(image, [body], True, (170, 150, 150), 1, cv2.LINE_AA)
        cv2.line(image, (x + unit, y + 2 * unit), (x + 2 * unit, y + 3 * unit), (200, 190, 190), 2)


def draw_scale(image: np.ndarray, rng: np.random.Generator, boxes: list) -> dict:
    """A blue or yellow depth scale with ticks and numbers, or a colour bar."""
    h, w = image.shape[:2]
    name = str(rng.choice(list(COLOURS)))
    colour, bar = COLOURS[name], bool(rng.random() < 0.3)
    x = int(w * (rng.uniform(0.02, 0.10) if rng.random() < 0.5 else rng.uniform(0.88, 0.95)))
    y1, y2 = int(h * rng.uniform(0.05, 0.2)), int(h * rng.uniform(0.75, 0.95))
    if bar:
        thick = max(w // 60, 6)
        ramp = np.linspace(1, 0.25, y2 - y1)[:, None, None] * np.array(colour)
        image[y1:y2, x : x + thick] = ramp.astype(np.uint8)
        return {"colour": name, "form": "bar"}
    cv2.line(image, (x, y1), (x, y2), colour, 1)
    steps = int(rng.integers(6, 16))
    for i in range(steps + 1):
        y = y1 + (y2 - y1) * i // steps
        long = i % 5 == 0
        cv2.line(image, (x, y), (x + (8 if long else 4), y), colour, 1)
        if long:
            cv2.putText(image, str(i), (min(x + 11, w - 18), y + 4), FONT, 0.35, colour, 1, cv2.LINE_AA)
    return {"colour": name, "form": "ruler"}


def draw_caliper(image: np.ndarray, rng: np.random.Generator, boxes: list) -> dict:
    """Coloured crosses at the ends of a lesion (or anywhere, without one) joined by dotted lines."""
    h, w = image.shape[:2]
    name = str(rng.choice(list(COLOURS), p=[0.25, 0.75]))
    if boxes:
        x1, y1, x2, y2 = boxes[int(rng.integers(len(boxes)))][:4]
    else:
        x1, y1 = rng.uniform(0.3, 0.5) * w, rng.uniform(0.35, 0.55) * h
        x2, y2 = x1 + 0.12 * w, y1 + 0.12 * h
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    turn = rng.uniform(-0.5, 0.5)
    arms = [(x2 - x1, turn), (y2 - y1, turn + np.pi / 2)][: int(rng.integers(1, 3))]
    for number, (length, angle) in enumerate(arms, 1):
        step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        ends = [np.array([cx, cy]) + k * step for k in (-1, 1)]
        for t in np.linspace(0, 1, max(int(length / 7), 3)):
            x, y = (ends[0] * (1 - t) + ends[1] * t).astype(int)
            image[max(y, 0) : y + 2, max(x, 0) : x + 1] = COLOURS[name]
        for end in ends:
            cv2.drawMarker(image, end.astype(int).tolist(), COLOURS[name], cv2.MARKER_CROSS, 11, 1)
        place = (ends[0] + (-16, 4)).astype(int).tolist()
        cv2.putText(image, str(number), place, FONT, 0.4, COLOURS[name], 1, cv2.LINE_AA)
    return {"colour": name, "lines": len(arms)}


def draw_text(image: np.ndarray, rng: np.random.Generator, boxes: list) -> dict:
    """One or two lines of white or yellow text, in a corner or over the picture."""
    h, w = image.shape[:2]
    white = rng.random() < 0.7
    lines = [str(rng.choice(WORDS))]
    if rng.random() < 0.5:
        lines.append(f"{rng.uniform(2, 5):.1f}MHz {int(rng.integers(40, 90))}dB")
    corner = rng.random() < 0.6
    x = int(w * (rng.uniform(0.02, 0.06) if corner else rng.uniform(0.25, 0.55)))
    y = int(h * (rng.choice([0.06, 0.88]) if corner else rng.uniform(0.7, 0.9)))
    for i, line in enumerate(lines):
        place = (x, y + int(i * h * 0.04))
        cv2.putText(image, line, place, FONT, h / 1100 + 0.05, WHITE if white else YELLOW, 1, cv2.LINE_AA)
    return {"text": " | ".join(lines), "colour": "white" if white else "yellow"}


def draw_grey_bar(image: np.ndarray, rng: np.random.Generator, boxes: list) -> dict:
    """The grey map's wedge at the side of the frame."""
    h, w = image.shape[:2]
    thick = max(w // 50, 8)
    x = int(0.015 * w) if rng.random() < 0.5 else w - thick - int(0.015 * w)
    y1, y2 = int(h * rng.uniform(0.08, 0.2)), int(h * rng.uniform(0.4, 0.6))
    image[y1:y2, x : x + thick] = np.linspace(255, 0, y2 - y1).astype(np.uint8)[:, None, None]
    cv2.rectangle(image, (x - 1, y1 - 1), (x + thick, y2), (130, 130, 130), 1)
    return {"x": x, "y1": y1, "y2": y2, "width": thick}


OVERLAYS: dict[str, Callable[[np.ndarray, np.random.Generator, list], dict]] = {
    "colour_scale": draw_scale,
    "caliper": draw_caliper,
    "burned_text": draw_text,
    "grey_bar": draw_grey_bar,
}
