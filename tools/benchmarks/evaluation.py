"""Evaluation of a test set of report B's size against pycocotools alone: 8 391 images, 100 predictions each, 4 classes.

The boxes are made up from a seed. Each row sets a part of medkit's evaluation, or all of it, against the same one run
of pycocotools, from arrays to numbers, in CPU time. Both compute COCO AP; the tool stops if they differ by over 1e-9.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.timing import Row
from medkit.evaluation.coco import coco_ap
from medkit.evaluation.functional import (
    ImageBoxes,
    Matches,
    bootstrap,
    calibration_of,
    choose_class_thresholds,
    choose_threshold,
    confidence_curves,
    froc,
    lesion_matrix,
    match,
    one_to_one_matrix,
    resample,
)

NUM_CLASSES, NUM_PREDS, SIDE = 4, 100, 512


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time the parts, their sum, and beside it the intervals, which pycocotools does not have."""
    images = random_images(args.images)
    match_ms, matches = _timed(lambda: match(images, NUM_CLASSES))
    base_ms, reference = _timed(lambda: coco_ap(matches, NUM_CLASSES, backend="pycocotools"))
    yield Row("matching, lesion-level protocol", base_ms, match_ms)
    coco_ms, ours = _timed(lambda: coco_ap(matches, NUM_CLASSES))
    if not np.allclose(list(ours.headline().values()), list(reference.headline().values()), rtol=0, atol=1e-9):
        raise SystemExit("the AP differs from that of pycocotools: the times would mean nothing")
    yield Row("COCO AP, per class and size", base_ms, coco_ms)
    rest_ms, _ = _timed(lambda: _curves(matches))
    yield Row("matrices, curves, FROC, calibration, thresholds", base_ms, rest_ms)
    yield Row("the three together", base_ms, match_ms + coco_ms + rest_ms)
    patients = [f"P{index // 2}" for index in range(args.images)]
    draws_ms, _ = _timed(lambda: bootstrap(matches, 0.3, resample(patients, args.images)))
    yield Row("1000 bootstrap draws of F1, mAP, AP50", base_ms, draws_ms)


def _timed(call: Callable) -> tuple[float, Any]:
    """CPU time of one call, in ms, and its result: fair on a busy machine, and the calls are long enough for one."""
    start = time.process_time()
    result = call()
    return (time.process_time() - start) * 1e3, result


def _curves(matches: Matches) -> None:
    events = matches.events
    choice = choose_threshold(events, NUM_CLASSES)
    choose_class_thresholds(events, NUM_CLASSES, choice.score_thr)
    lesion_matrix(events, choice.score_thr, NUM_CLASSES)
    one_to_one_matrix(matches, choice.score_thr, NUM_CLASSES)
    confidence_curves(events, NUM_CLASSES)
    froc(events, matches.num_images, NUM_CLASSES)
    calibration_of(matches)


def random_images(num_images: int) -> list[ImageBoxes]:
    """Images with none to two lesions, and predictions of which about a third are near one."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(num_images):
        num = int(rng.integers(0, 3))
        gt, labels = _boxes(rng, num), rng.integers(0, NUM_CLASSES, num)
        preds, called = _boxes(rng, NUM_PREDS), rng.integers(0, NUM_CLASSES, NUM_PREDS)
        scores = rng.random(NUM_PREDS) ** 6  # most scores are low, as a detector's are
        if num:
            near = rng.integers(0, num, NUM_PREDS // 3)
            preds[: len(near)] = gt[near] + rng.normal(0, 8, (len(near), 4))
            scores[: len(near)] = rng.random(len(near)) ** 3
            called[: len(near)] = np.where(rng.random(len(near)) < 0.7, labels[near], called[: len(near)])
        images.append(ImageBoxes.create(preds, scores, called, gt, labels))
    return images


def _boxes(rng: np.random.Generator, num: int) -> np.ndarray:
    centres, half = rng.uniform(80, SIDE - 80, (num, 2)), rng.uniform(8, 75, (num, 2))
    return np.concatenate([centres - half, centres + half], axis=1)
