"""COCO AP in memory against pycocotools on json files, and the cases that break naive wrappers."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medkit.evaluation.coco import coco_ap
from medkit.evaluation.functional import ImageBoxes, class_table, lesion_events, lesion_matrix

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
