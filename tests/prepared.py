"""A tiny prepared data set for tests: bright discs on noise, in the layout that `python -m data_prep` writes."""

import json
from pathlib import Path

import cv2
import numpy as np

LIVER = ("cyst", "HCC", "hemangioma", "metastasis")


def write_prepared(
    root: Path, classes: tuple[str, ...] = LIVER, num_images: int = 6, size: tuple[int, int] = (96, 80), seed: int = 0
) -> Path:
    """Write ``num_images`` images of ``size`` (width, height) per split; the last image of a split has no lesion."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    width, height = size
    for split in ("train", "val", "test"):
        images, annotations = [], []
        for i in range(num_images):
            picture = rng.integers(20, 80, (height, width)).astype(np.uint8)
            if i < num_images - 1:
                label, radius = i % len(classes), int(rng.integers(8, 14))
                x, y = int(rng.integers(16, width - 16)), int(rng.integers(16, height - 16))
                cv2.circle(picture, (x, y), radius, 120 + 30 * label, -1)
                box = [float(max(x - radius, 0)), float(max(y - radius, 0)), 2.0 * radius, 2.0 * radius]
                annotations.append(
                    dict(id=len(annotations) + 1, image_id=i, category_id=label + 1, bbox=box, area=box[2] * box[3])
                    | dict(iscrowd=0)
                )
            name = f"{split}_{i}.png"
            cv2.imwrite(str(root / "images" / name), picture)
            images.append(
                dict(id=i, file_name=name, width=width, height=height, patient_id=f"{split}{i}", age=50, sex="F")
                | dict(diagnosis=classes[i % len(classes)])
            )
        categories = [dict(id=k, name=name) for k, name in enumerate(classes, 1)]
        content = dict(info={}, images=images, annotations=annotations, categories=categories)
        (root / f"annotations/{split}.json").write_text(json.dumps(content))
    return root
