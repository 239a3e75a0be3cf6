"""Small pictures for report.html as data URIs, with lesion boxes drawn where wanted."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataPrepError
from ..images import decode

QUALITY = 72
BOX = (255, 170, 0)  # RGB


def locate(export: Path, file: str) -> tuple[Path | None, int | None]:
    """Where the original of a report row lies, and its frame (``name.dcm#0003``); None when it is not found."""
    name, mark, number = file.rpartition("#")
    frame = int(number) if mark and number.isdigit() else None
    for own in (name, file) if frame is not None else (file,):
        for place in (export / "images" / own, export / own, *sorted(export.glob(f"*/{_literal(own)}"))[:1]):
            if place.is_file():
                return place, frame if own == name else None
    return None, None


def _literal(file: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in file)


def thumbnail(export: Path, file: str, side: int = 150, boxes: list | None = None) -> str:
    """Data URI of the original of a report row, "" when it cannot be shown."""
    path, frame = locate(export, file)
    if path is None:
        return ""
    try:
        picture = decode(path, frame)
    except (DataPrepError, OSError):
        return ""
    return data_uri(picture.pixels, side, boxes)


def written_thumbnail(out: Path, file: str, side: int = 150) -> str:
    """Data URI of a written image."""
    try:
        return data_uri(decode(out / "images" / file).pixels, side)
    except (DataPrepError, OSError):
        return ""


def data_uri(pixels: np.ndarray, side: int, boxes: list | None = None) -> str:
    """Grey (H, W) or RGB (H, W, 3) uint8 pixels, shrunk to the longer ``side``, as a JPEG data URI."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if boxes:
        small = np.ascontiguousarray(np.stack([small] * 3, axis=2) if small.ndim == 2 else small)
        for x1, y1, x2, y2, *_ in boxes:
            low, high = (round(x1 * scale), round(y1 * scale)), (round(x2 * scale), round(y2 * scale))
            cv2.rectangle(small, low, high, BOX, 1)
    ok, data = cv2.imencode(".jpg", small if small.ndim == 2 else small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert ok
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
