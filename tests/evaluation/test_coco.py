"""COCO AP in memory against pycocotools on json files, and the cases that break naive wrappers."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medkit.errors import ConfigError
from medkit.evaluation.coco import _pycocotools_precision, coco_ap
from medkit.evaluation.functional import (
    ImageBoxes,
    average_precision,
    boxset,
    class_table,
    coco_hits,
    lesion_events,
    lesion_matrix,
    match,
)

from .synthetic import random_images

NUM_CLASSES = 4


def through_json(images, folder):
    """The ordinary way: an annotation file, a results file, loadRes, summarize."""
    annotations, results = [], []
    for index, image in enumerate(images):
        boxes = np.concatenate(
            [image.gt_bboxes[:, :2], image.gt_bboxes[:, 2:] - image.gt_bboxes[:, :2]], axis=1
        )
        for box, label, ignore, area in zip(
            boxes, image.gt_labels, image.gt_ignore, image.gt_areas, strict=True
        ):
            annotations.append(dict(id=len(annotations) + 1, image_id=index + 7, category_id=int(label) + 1,
                                    bbox=box.tolist(), area=float(area), iscrowd=int(ignore)))  # fmt: skip
        preds = image.pred_bboxes.astype(float)
        for box, label, score in zip(preds, image.pred_labels, image.pred_scores, strict=True):
            x1, y1, x2, y2 = box.tolist()
            results.append(dict(image_id=index + 7, category_id=int(label) + 1, score=float(score),
                                bbox=[x1, y1, x2 - x1, y2 - y1]))  # fmt: skip
    (folder / "gt.json").write_text(json.dumps(dict(
        images=[dict(id=i + 7) for i in range(len(images))], annotations=annotations,
        categories=[dict(id=c + 1, name=str(c)) for c in range(NUM_CLASSES)])))  # fmt: skip
    (folder / "dt.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(folder / "gt.json"))
        evaluation = COCOeval(gt, gt.loadRes(str(folder / "dt.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = [p[p > -1].mean() if (p > -1).any() else np.nan for p in np.moveaxis(precision, 2, 0)]
    return [value if value > -1 else np.nan for value in evaluation.stats[:6]], per_class


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("coarse", [False, True])
def test_equals_pycocotools_through_json(seed, coarse, tmp_path):
    rng = np.random.default_rng(seed)
    images = random_images(rng, num_images=25, coarse=coarse, max_preds=150 if seed == 0 else 12)
    ours = coco_ap(images, NUM_CLASSES)
    stats, per_class = through_json(images, tmp_path)
    np.testing.assert_allclose(list(ours.headline().values()), stats, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.class_ap, per_class, rtol=0, atol=1e-12)


def boxes_of(rng, num, side=60):
    top_left = rng.integers(0, 6, (num, 2)) * 10.0
    return np.concatenate([top_left, top_left + side], axis=1)


def duplicates(rng):
    """Equal boxes with equal scores on equal lesions: only the order of ties tells them apart."""
    gt, pred = np.repeat(boxes_of(rng, 2), 2, axis=0), np.repeat(boxes_of(rng, 3), 4, axis=0)
    return ImageBoxes.create(pred, np.full(12, 0.5), rng.integers(0, 2, 12), gt, [0, 0, 1, 1])


def at_the_limits(rng):
    """Areas of exactly 32 x 32 and 96 x 96, one below and one above, of lesions and predictions."""
    sides = np.array([31.0, 32, 33, 95, 96, 97])
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=1) + 10
    areas = sides**2 + rng.integers(-1, 2, 6)  # the file's area decides, not the box
    return ImageBoxes.create(boxes, rng.random(6), [0] * 6, boxes, [0] * 6, gt_areas=areas)


def more_than_100(rng):
    gt = boxes_of(rng, 3)
    pred = gt[rng.integers(0, 3, 300)] + rng.normal(0, 5, (300, 4))
    return ImageBoxes.create(pred, rng.integers(0, 5, 300) / 5, rng.integers(0, 2, 300), gt, [0, 0, 1])


def crowds(rng):
    """Lesions inside crowd regions of either class, many predictions on both."""
    gt = np.concatenate([boxes_of(rng, 2, 200), boxes_of(rng, 2)])
    pred = np.concatenate([boxes_of(rng, 20), gt])
    return ImageBoxes.create(pred, rng.integers(0, 9, 24) / 9, rng.integers(0, 2, 24), gt, [0, 1, 0, 1],
                             gt_ignore=[True, True, False, False])  # fmt: skip


def odd_boxes(rng):
    """Without width, turned inside out, outside the image; lesions of area 0."""
    odd = [[5, 5, 5, 50], [50, 50, 10, 10], [-500, -500, -400, -400], [0, 0, 1e5, 1e5], [10, 10, 60, 60]]
    return ImageBoxes.create(odd, rng.random(5), [0, 0, 1, 1, 0], [[10, 10, 60, 60], [5, 5, 5, 50]], [0, 1])


def nothing_or_only_one_side(rng):
    kind, boxes = rng.integers(0, 3), boxes_of(rng, 2)
    gt, pred = (boxes if kind == 1 else []), (boxes if kind == 2 else [])
    return ImageBoxes.create(pred, [0.7] * len(pred), [2] * len(pred), gt, [2] * len(gt))


ADVERSARIES = (duplicates, at_the_limits, more_than_100, crowds, odd_boxes, nothing_or_only_one_side)


@pytest.mark.parametrize("make", ADVERSARIES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_where_it_is_hard(make, seed):
    """Every entry of the precision array, so every AP that can be read off it."""
    rng = np.random.default_rng(seed)
    matches = match([make(rng) for _ in range(8)], NUM_CLASSES)
    ours, reference = average_precision(coco_hits(matches)), _pycocotools_precision(matches.boxes)
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12)


def test_equals_pycocotools_on_all_of_them_mixed():
    rng = np.random.default_rng(0)
    images = [make(rng) for make in ADVERSARIES * 4] + random_images(rng, 30, NUM_CLASSES, coarse=True)
    matches = match([images[i] for i in rng.permutation(len(images))], NUM_CLASSES)
    ours, reference = average_precision(coco_hits(matches)), _pycocotools_precision(matches.boxes)
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12)
    assert (ours > -1).any(axis=(0, 1)).sum() > 8  # classes x sizes that were really compared


def test_back_ends_agree_and_are_named():
    images = random_images(np.random.default_rng(2), 20)
    first, second = coco_ap(images, NUM_CLASSES), coco_ap(images, NUM_CLASSES, backend="pycocotools")
    assert (first.backend, second.backend) == ("medkit", "pycocotools")
    for name in ("class_ap", "class_size_ap", "pr_50"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-12)
    with pytest.raises(ConfigError, match="numpy"):
        coco_ap(images, NUM_CLASSES, backend="numpy")


def test_large_sets_are_cut_into_pieces(monkeypatch):
    images = random_images(np.random.default_rng(3), 20)
    whole = match(images, NUM_CLASSES).overlaps
    monkeypatch.setattr(boxset, "PAIRS_AT_ONCE", 7)
    pieces = match(images, NUM_CLASSES).overlaps
    for name in ("preds", "gts", "ious"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


def test_all_six_numbers_use_100_predictions():
    """The true box stands at rank 150: with one cap of 100 neither mAP nor AP50 may see it."""
    lesion = [10.0, 10, 60, 60]
    wrong = [[200.0 + i, 200, 230 + i, 230] for i in range(149)]
    image = ImageBoxes.create([*wrong, lesion], np.linspace(0.9, 0.1, 150), np.zeros(150), [lesion], [0])
    result = coco_ap([image], 1)
    assert result.mAP == result.mAP_50 == result.mAP_m == 0


def test_no_predictions_at_all():
    result = coco_ap([ImageBoxes.create([], [], [], [[0, 0, 20, 20]], [1])], 2)
    assert result.mAP == 0 and result.class_ap[1] == 0 and math.isnan(result.class_ap[0])


def test_no_ground_truth_at_all():
    images = [ImageBoxes.create([[0, 0, 20, 20]], [0.9], [0], [], []), ImageBoxes.create([], [], [], [], [])]
    result = coco_ap(images, 2)
    assert all(math.isnan(value) for value in result.headline().values())


def test_class_without_lesions_is_out_of_the_mean_but_its_false_positives_count():
    lesion = [10, 10, 60, 60]
    image = ImageBoxes.create([lesion, [100, 100, 150, 150]], [0.9, 0.8], [0, 1], [lesion], [0])
    result = coco_ap([image], 2)
    assert result.mAP == pytest.approx(1.0) and math.isnan(result.class_ap[1])
    assert class_table(lesion_matrix(lesion_events([image]), 0.5, 2)).over_detections.tolist() == [0, 1]


def test_prints_nothing(capsys):
    coco_ap(random_images(np.random.default_rng(0), num_images=2), NUM_CLASSES)
    assert capsys.readouterr().out == ""


def test_unrounded():
    value = coco_ap(random_images(np.random.default_rng(1), num_images=30), NUM_CLASSES).mAP
    assert value != round(value, 6)
