"""Scoring the files of a folder with an anomaly detector.

Command: ``python tools/score.py CONFIG RUN FOLDER --out DIR``. Memory does not grow with the number of files. Of a
DICOM file only the pixels are used.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from medkit.apis.anomaly import AnomalyScorer
from medkit.apis.predict_io import Frame, Window, find_files, read_frames, to_uint8
from medkit.errors import ConfigError, DatasetError
from medkit.visualization.anomaly import heat_overlay, map_range

__all__ = ["MAP_FORMATS", "OPERATING_POINT", "FolderScores", "known_point", "score_files"]

OPERATING_POINT = "anomaly.json"  # beside the checkpoint: cut-off of scores and range of maps, of validation
MAP_FORMATS = ("npy", "png", "none")
_COLUMNS = ("file", "frame", "score", "anomalous", "map_min", "map_max")
_SMALLEST_OVERLAY = 256  # pixels


@dataclass(frozen=True)
class FolderScores:
    """What `score_files` did: images scored, files not readable, time of the model for an image, most memory."""

    images: int
    errors: int
    ms_per_image: float
    peak_mb: float

    def __str__(self) -> str:
        return (
            f"{self.images} images, {self.errors} not readable; {self.ms_per_image:.1f} ms each in the model, peak "
            f"memory {self.peak_mb:.0f} MB"
        )


def known_point(checkpoint: Path) -> dict:
    """``cutoff`` (score) and ``span`` (map range) that tools/benchmark_anomaly.py left for a checkpoint; else empty."""
    path = checkpoint.with_name(OPERATING_POINT)
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if content.get("checkpoint") == checkpoint.name else {}


def score_files(
    scorer: AnomalyScorer,
    source: str | Path,
    out: str | Path,
    *,
    cutoff: float | None = None,
    span: tuple[float, float] | None = None,
    maps: str = "npy",
    overlays: bool = True,
) -> FolderScores:
    """Write scores.csv, errors.csv, maps/ and overlays/ of a file or of all files of a folder.

    A file that cannot be read goes to errors.csv and the rest goes on.

    Args:
        scorer: the detector.
        source: image, DICOM file, video, or a folder of them, with its sub-folders.
        out: folder for the results.
        cutoff: score from which an image is anomalous; default that of `known_point`, else the column stays empty.
        span: map values without and with full colour in overlays; default that of `known_point`, else of the first
            batch.
        maps: 'npy' (float32), 'png' (16 bit; value = map_min + pixel / 65535 * (map_max - map_min)) or 'none'.
        overlays: draw the maps over the images.

    Raises:
        ConfigError: unknown format of maps.
        DatasetError: nothing could be read, or ``out`` cannot be written.
    """
    if maps not in MAP_FORMATS:
        raise ConfigError(f"maps={maps!r}; expected one of {', '.join(MAP_FORMATS)}")
    source, point = Path(source), known_point(scorer.checkpoint)
    writer = _Writer(Path(out), source if source.is_dir() else source.parent, maps, overlays)
    writer.cutoff = point.get("cutoff") if cutoff is None else cutoff
    writer.span = span or (tuple(point["span"]) if "span" in point else None)
    frames = (frame for path in find_files(source, leave_out=Path(out)) for frame in read_frames(path))
    try:
        with writer:
            for batch in _batches(frames, scorer, writer):
                found, scores = scorer(torch.stack([inputs for _, _, inputs, _ in batch]))
                for (frame, image, _, view), one, score in zip(batch, found, scores, strict=True):
                    writer.add(frame, image, view, one, float(score), found)
    except OSError as error:
        raise DatasetError(f"{out} cannot be written to: {error.strerror}; give another --out") from error
    if not writer.images:
        raise DatasetError(
            f"{source}: nothing could be scored, {writer.errors} files are not readable (see "
            f"{Path(out) / 'errors.csv'}); expected images, DICOM files or videos"
        )
    return FolderScores(writer.images, writer.errors, scorer.ms_per_image, scorer.peak_mb())


_Ready = tuple[Frame, np.ndarray, Tensor, tuple[float, float, float, float]]


def _batches(frames: Iterator[Frame], scorer: AnomalyScorer, writer: _Writer) -> Iterator[list[_Ready]]:
    """Readable frames with what the network is given of them; the others are noted."""
    load = scorer.steps[0]
    window = Window(**{name: tuple(load[name]) for name in ("window", "percentiles") if load.get(name)})

    def ready() -> Iterator[_Ready]:
        for frame in frames:
            try:
                if frame.image is None:
                    raise DatasetError(frame.error or "cannot be read")
                image = to_uint8(frame.image, window)
            except DatasetError as error:
                writer.fail(frame, str(error))
                continue
            yield frame, image, *scorer.prepare(image)

    stream = ready()
    while batch := list(islice(stream, scorer.batch_size)):
        yield batch


class _Writer:
    """Writes the files of one run."""

    def __init__(self, out: Path, root: Path, maps: str, overlays: bool) -> None:
        self.out, self.root, self.maps, self.overlays = out, root, maps, overlays
        self.cutoff: float | None = None
        self.span: tuple[float, float] | None = None
        self.images = self.errors = 0

    def __enter__(self) -> _Writer:
        self.out.mkdir(parents=True, exist_ok=True)
        self._scores = (self.out / "scores.csv").open("w", newline="", encoding="utf-8")
        self._errors = (self.out / "errors.csv").open("w", newline="", encoding="utf-8")
        csv.writer(self._scores).writerow(_COLUMNS)
        csv.writer(self._errors).writerow(("file", "frame", "error"))
        return self

    def __exit__(self, *_: object) -> None:
        self._scores.close()
        self._errors.close()

    def fail(self, frame: Frame, error: str) -> None:
        """Note a file that cannot be read."""
        self.errors += 1
        csv.writer(self._errors).writerow([self._name(frame), "" if frame.number is None else frame.number, error])

    def add(
        self,
        frame: Frame,
        image: np.ndarray,
        view: tuple[float, float, float, float],
        anomaly_map: np.ndarray,
        score: float,
        batch: np.ndarray,
    ) -> None:
        """Write one image's score, map and picture."""
        self.images += 1
        self.span = self.span or map_range(list(batch))
        called = "" if self.cutoff is None else int(score >= self.cutoff)
        low, high = float(anomaly_map.min()), float(anomaly_map.max())
        number = "" if frame.number is None else frame.number
        row = [self._name(frame), number, f"{score:.8g}", called, f"{low:.8g}", f"{high:.8g}"]
        csv.writer(self._scores).writerow(row)
        stem = self._name(frame) + ("" if frame.number is None else f".{frame.number:05d}")
        if self.maps == "npy":
            with self._open("maps", f"{stem}.npy").open("wb") as file:
                np.save(file, anomaly_map.astype(np.float32))
        elif self.maps == "png":
            grey = (anomaly_map - low) / max(high - low, 1e-12) * 65535
            _write_png(self._open("maps", f"{stem}.png"), grey.round().astype(np.uint16))
        if self.overlays:
            _write_png(self._open("overlays", f"{stem}.png"), _picture(image, view, anomaly_map, self.span))

    def _name(self, frame: Frame) -> str:
        path = Path(frame.path or "array")
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name

    def _open(self, folder: str, name: str) -> Path:
        target = self.out / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _picture(
    image: np.ndarray, view: tuple[float, float, float, float], anomaly_map: np.ndarray, span: tuple[float, float]
) -> np.ndarray:
    """The image, at least 256 pixels wide or high, with the map over the part that the network saw."""
    picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    factor = max(1, -(-_SMALLEST_OVERLAY // max(picture.shape[:2])))
    picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    height, width = picture.shape[:2]
    left, top, right, bottom = (
        round(share * side) for share, side in zip(view, (width, height, width, height), strict=True)
    )
    picture[top:bottom, left:right] = heat_overlay(picture[top:bottom, left:right], anomaly_map, *span)
    return picture


def _write_png(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture)
    assert done, "a picture of 8 or 16 bits can be encoded"
    path.write_bytes(data.tobytes())
