"""What a prediction run writes: predictions.json (COCO), predictions.csv, overlays and errors.csv, as it goes along.

Memory does not grow with the number of images. Nothing of a DICOM header is written. Command: tools/predict.py.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

import medkit
from medkit.apis.predict_io import Frame, is_video
from medkit.apis.prediction import Prediction
from medkit.errors import DatasetError
from medkit.visualization.sheet import class_color

__all__ = ["PredictionWriter", "draw_boxes"]

_BOX_COLUMNS = ("file", "frame", "class", "score", "x1", "y1", "x2", "y2", "image_width", "image_height")
_DESCRIPTION = "boxes found by medkit; not a medical device"
_SMALLEST_OVERLAY = 384  # pixels; text on a smaller picture cannot be read


class PredictionWriter:
    """Writes the files of one run; use it in a ``with`` statement, `add` every image.

    Args:
        out: Folder, made where it is missing; files of the same name in it are replaced.
        root: Folder that file names are written relative to.
        classes: Class names; category ids are 1, 2, ... in this order.
        about: What stands under ``info`` in predictions.json: weights, thresholds.
        overlays: Draw the boxes: a PNG per image, an AVI per video.
    """

    def __init__(
        self, out: str | Path, root: Path, classes: Sequence[str], about: dict[str, Any], overlays: bool = True
    ) -> None:
        self.out, self.root, self.overlays = Path(out), root, overlays
        self.num_images = self.num_boxes = self.num_errors = 0
        self.categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
        self.info = {"description": _DESCRIPTION, "medkit": medkit.__version__, **about}
        self._video: tuple[str, cv2.VideoWriter] | None = None

    def __enter__(self) -> PredictionWriter:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._images = tempfile.TemporaryFile("w+", dir=self.out, encoding="utf-8")
            self._boxes = tempfile.TemporaryFile("w+", dir=self.out, encoding="utf-8")
            self._csv = _table(self.out / "predictions.csv", _BOX_COLUMNS)
            self._errors = _table(self.out / "errors.csv", ("file", "frame", "error"))
        except OSError as error:
            raise DatasetError(f"{self.out} cannot be written to: {error.strerror}; give another --out") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Write predictions.json, of an interrupted run too: what was predicted until then."""
        self._end_video()
        for file in (self._csv, self._errors):
            file.close()
        draft = self.out / ".predictions.json.part"
        with draft.open("w", encoding="utf-8") as file:
            head = f'"info": {json.dumps(self.info)},\n"categories": {json.dumps(self.categories)}'
            file.write(f'{{{head},\n"images": [\n')
            _append(file, self._images)
            file.write('\n],\n"annotations": [\n')
            _append(file, self._boxes)
            file.write("\n]}\n")
        draft.replace(self.out / "predictions.json")

    def add(self, frame: Frame, prediction: Prediction) -> None:
        """Write one image's boxes, or its error."""
        name = self._name(frame)
        number = "" if prediction.frame is None else prediction.frame
        if prediction.error is not None or frame.image is None or prediction.size is None:
            self.num_errors += 1
            csv.writer(self._errors).writerow([name, number, prediction.error])
            self._errors.flush()
            return
        self.num_images += 1
        (height, width), found = prediction.size, prediction
        entry = {"id": self.num_images, "file_name": name, "width": width, "height": height}
        _put(self._images, {**entry, **({} if found.frame is None else {"frame": found.frame})})
        for box, score, label in zip(found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
            self.num_boxes += 1
            x1, y1, x2, y2 = box
            size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            known = {"id": self.num_boxes, "image_id": self.num_images, "category_id": label + 1, "score": score}
            _put(self._boxes, {**known, **size})
            row = [name, number, found.classes[label], f"{score:.6f}", *(f"{v:.2f}" for v in box), width, height]
            csv.writer(self._csv).writerow(row)
        if self.overlays:
            self._draw(name, frame.image, found)

    def _name(self, frame: Frame) -> str:
        path = Path(frame.path or "array")
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name

    def _draw(self, name: str, image: np.ndarray, found: Prediction) -> None:
        picture = draw_boxes(image, found)
        target = self.out / "overlays" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_video(name):
            self._write_video(target.with_name(f"{target.name}.avi"), picture)
            return
        number = "" if found.frame is None else f".{found.frame:05d}"
        if number or target.suffix.lower() != ".png":
            target = target.with_name(f"{target.name}{number}.png")
        done, data = cv2.imencode(".png", picture)
        assert done, "a picture of 8 bits can be encoded"
        target.write_bytes(data.tobytes())

    def _write_video(self, target: Path, picture: np.ndarray) -> None:
        if self._video is None or self._video[0] != str(target):
            self._end_video()
            size = (picture.shape[1], picture.shape[0])
            video = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"MJPG"), 25, size)  # type: ignore[attr-defined]
            if not video.isOpened():
                raise DatasetError(f"OpenCV cannot write the video {target}; pass --no-overlays")
            self._video = str(target), video
        self._video[1].write(picture)

    def _end_video(self) -> None:
        if self._video is not None:
            self._video[1].release()
        self._video = None


def draw_boxes(image: np.ndarray, found: Prediction) -> np.ndarray:
    """Copy of an image (H, W) or BGR (H, W, 3) uint8 with boxes, class names and scores, in BGR.

    A small image is enlarged by a whole number, so that the text can be read.
    """
    factor = max(1, -(-_SMALLEST_OVERLAY // max(image.shape[:2])))
    picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    if factor > 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    limit = np.array([picture.shape[1], picture.shape[0]] * 2) - 1
    for index in reversed(range(len(found))):  # the surest on top
        label = int(found.labels[index])
        x1, y1, x2, y2 = (found.bboxes[index] * factor).round().clip(0, limit).astype(int).tolist()
        color = tuple(int(class_color(label)[k : k + 2], 16) for k in (5, 3, 1))  # '#rrggbb' to BGR
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, 2)
        _write_text(picture, f"{found.classes[label]} {found.scores[index]:.2f}", x1, y1, color)
    return picture


def _write_text(picture: np.ndarray, text: str, x: int, y: int, color: tuple[int, ...]) -> None:
    """Text on black above (x, y), moved into the picture where it would leave it."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    x, y = max(0, min(x, picture.shape[1] - width)), max(height + 4, y)
    cv2.rectangle(picture, (x, y - height - 4), (x + width, y), (0, 0, 0), -1)
    cv2.putText(picture, text, (x, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)


def _table(path: Path, columns: Sequence[str]) -> IO[str]:
    file = path.open("w", newline="", encoding="utf-8")
    csv.writer(file).writerow(columns)
    return file


def _put(file: IO[str], entry: dict) -> None:
    """Add a JSON entry, with a comma before all but the first."""
    file.write((",\n" if file.tell() else "") + json.dumps(entry))


def _append(target: IO[str], source: IO[str]) -> None:
    source.seek(0, os.SEEK_SET)
    shutil.copyfileobj(source, target)
    source.close()
