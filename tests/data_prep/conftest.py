"""A tiny hand-made export: smooth random sectors of a few patients per diagnosis."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.readers.table import COLUMNS


def sector(seed: int, width: int = 460, height: int = 420) -> np.ndarray:
    """Grey frame (H, W) uint8: a textured sector on black, the same for the same seed."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(40, 200, (9, 9)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    frame = np.clip(smooth + rng.normal(0, 6, smooth.shape), 20, 255)
    polygon = np.array([(0.4, 0.05), (0.6, 0.05), (0.97, 0.8), (0.5, 0.97), (0.03, 0.8)]) * (width, height)
    mask = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), polygon.astype(np.int32), 1)
    return (frame * mask).astype(np.uint8)


@dataclass
class TinyExport:
    """Rows and files of an export that a test fills and then writes with `save`."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, file: str, pixels: np.ndarray | None = None, data: bytes | None = None, **values: str) -> None:
        """Add an image (pixels, raw bytes, or no file at all) and its row, unless ``row`` is False."""
        path = self.folder / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is not None:
            data = cv2.imencode(path.suffix, pixels if pixels.ndim == 2 else pixels[..., ::-1])[1].tobytes()
        if data is not None:
            path.write_bytes(data)
        if values.pop("row", True):
            row = {"patient_id": f"p{len(self.rows)}", "age": "50", "sex": "F", "diagnosis": "cyst"}
            row["boxes"] = "100,100,160,150,cyst" if values.get("diagnosis") != "normal" else ""
            self.rows.append({"file": file, **row, **values})

    def save(self) -> Path:
        """Write the table; returns the export folder."""
        (self.folder / "images").mkdir(parents=True, exist_ok=True)
        with (self.folder / "table.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        return self.folder

    def fill(self, patients: int = 12, frames: int = 2) -> TinyExport:
        """Add good patients, the diagnoses in turn."""
        classes = ("cyst", "HCC", "hemangioma", "metastasis", "normal")
        for patient in range(patients):
            name = classes[patient % 5]
            boxes = "" if name == "normal" else f"100.5,110,180,170.25,{name}"
            for frame in range(frames):
                suffix = "png" if patient % 2 else "jpg"
                values = {"patient_id": f"P{patient}", "diagnosis": name, "boxes": boxes}
                self.add(f"good{patient:02}_{frame}.{suffix}", sector(1000 + 50 * patient + frame), **values)
        return self


@pytest.fixture
def tiny(tmp_path: Path) -> TinyExport:
    return TinyExport(tmp_path / "export")


@pytest.fixture
def report_of():
    """Rows of OUT/report.csv by file."""

    def read(out: Path) -> dict[str, dict[str, str]]:
        with (out / "report.csv").open(newline="", encoding="utf-8") as handle:
            return {row["file"]: row for row in csv.DictReader(handle)}

    return read


@pytest.fixture
def short_page(monkeypatch):
    """A report.html without figures, which cost a second each time; for tests that look at other things."""

    def page(folder: Path, export: Path) -> None:
        (folder / "report.html").write_text("")

    monkeypatch.setattr("data_prep.results.write_report", page)
