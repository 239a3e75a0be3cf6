"""Loading and augmentation of one grey 640 x 480 image: medkit's transforms against mmdet's, one core."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import mmdet.datasets.transforms  # noqa: F401  registers them
import numpy as np
from mmcv.transforms import Compose

from benchmarks.timing import Row, median_ms
from medkit.registry import TRANSFORMS

SIZES = (128, 256, 512)


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time three training sizes, from PNG and from JPEG, without and with the cache of resized images."""
    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (5, 5), 0)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".png", ".jpg"):
            path = str(Path(folder) / f"image{suffix}")
            cv2.imwrite(path, image)
            for size in SIZES:
                runs = [
                    Compose([TRANSFORMS.build(step) for step in steps])
                    for steps in pipelines(size, f"{folder}/cache")
                ]
                theirs, plain, cached = (
                    median_ms(lambda run=run, path=path: run(annotated(path)), args.repeats) for run in runs
                )
                yield Row(f"{suffix[1:]} at {size} px, decoded each time", theirs, plain)
                yield Row(f"{suffix[1:]} at {size} px, cached", theirs, cached)


def annotated(path: str) -> dict:
    """What a data set hands to its pipeline: one image with one box."""
    instance = {"bbox": [100.0, 100, 300, 250], "bbox_label": 0, "ignore_flag": 0}
    return {"img_path": path, "img_id": 0, "instances": [instance]}


def pipelines(size: int, cache_dir: str) -> tuple[list[dict], list[dict], list[dict]]:
    """The same training steps from mmdet's transforms, from medkit's, and from medkit's with the cache."""
    scale = {"scale": (size, size), "interpolation": "area"}
    annotations = {"type": "mmdet.LoadAnnotations", "with_bbox": True}
    pad = {"type": "mmdet.Pad", "size": (size, size)}
    finish = [{"type": "mmdet.RandomFlip", "prob": 0.5}, {"type": "mmdet.PackDetInputs"}]
    theirs = [
        {"type": "mmcv.LoadImageFromFile"},
        annotations,
        {"type": "mmdet.Resize", "keep_ratio": True, **scale},
        pad,
        {"type": "mmdet.RandomAffine", "max_shear_degree": 0.0, "border_val": (0, 0, 0)},
        {"type": "mmdet.PhotoMetricDistortion"},
    ]
    load = {"type": "medkit.LoadResized", **scale}
    ours = [pad, {"type": "medkit.RandomScaleShift"}, {"type": "medkit.UltrasoundIntensity"}, *finish]
    return (
        theirs + finish,
        [annotations, load, *ours],
        [annotations, {**load, "cache_dir": cache_dir}, *ours],
    )
