"""The numeric core: golden matrices, the protocol word for word, invariants, thresholds."""

import json
from pathlib import Path

import numpy as np
import pytest

from medkit.evaluation.functional import (
    SCORE_GRID,
    ImageBoxes,
    binary_view,
    box_cover,
    box_iou,
    choose_threshold,
    class_table,
    coco_hits,
    lesion_events,
    lesion_matrix,
    match,
    one_to_one_matrix,
)
from medkit.evaluation.functional.average_precision import HIT

from .synthetic import images_from_matrix, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "report_b_matrices.json").read_text())
MODELS = ("yolox", "centernet_stepwise")
NUM_CLASSES = 4


def literal_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def literal_lesion_matrix(images, score_thr, num_classes, iou_thr=0.25):
    """The four steps of the protocol as they are written, slow and plain."""
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    for image in images:
        kept = [p for p in range(len(image.pred_scores)) if image.pred_scores[p] >= np.float32(score_thr)]
        touched = set()
        for g in np.flatnonzero(~image.gt_ignore):
            ious = {p: literal_iou(image.pred_bboxes[p].astype(float), image.gt_bboxes[g]) for p in kept}
            candidates = [p for p in kept if ious[p] >= iou_thr]
            touched.update(candidates)
            best = min(
                candidates,
                default=None,
                key=lambda p: (-image.pred_scores[p], -ious[p], image.pred_labels[p]),
            )
            matrix[image.gt_labels[g] + 1, 0 if best is None else image.pred_labels[best] + 1] += 1
        for p in set(kept) - touched:
            crowds = image.gt_bboxes[image.gt_ignore]
            if not any(
                box_cover(image.pred_bboxes[p : p + 1], crowds[i : i + 1])[0, 0] >= iou_thr
                for i in range(len(crowds))
            ):
                matrix[0, image.pred_labels[p] + 1] += 1
    return matrix


@pytest.mark.parametrize("model", MODELS)
def test_table_of_golden_matrix(model):
    golden, tol = GOLDEN[model], GOLDEN["tolerance"]
    table = class_table(np.array(golden["matrix"]))
    for row in ("precision", "recall", "f1"):
        np.testing.assert_allclose(getattr(table, row), golden[row], atol=tol)
    macro = [table.macro_precision, table.macro_recall, table.macro_f1]
    np.testing.assert_allclose(macro, golden["macro"], atol=tol)
    assert table.lesions.tolist() == [3037, 1371, 2962, 1021]
    assert table.misses.tolist() == [row[0] for row in golden["matrix"][1:]]
    assert table.over_detections.tolist() == golden["matrix"][0][1:]


@pytest.mark.parametrize("model", MODELS)
def test_report_misprints_are_not_reproduced(model):
    misprint = GOLDEN[model]["misprint"]
    ours = getattr(class_table(np.array(GOLDEN[model]["matrix"])), misprint["row"])[misprint["class"]]
    assert abs(ours - misprint["printed"]) > 4e-4


@pytest.mark.parametrize("model", MODELS)
def test_golden_matrix_from_boxes(model):
    golden = GOLDEN[model]
    matrix = np.array(golden["matrix"])
    images = images_from_matrix(matrix, golden["score_thr"], np.random.default_rng(3))
    assert sum(len(image.gt_labels) for image in images) == 8391
    events = lesion_events(images)
    np.testing.assert_array_equal(lesion_matrix(events, golden["score_thr"], NUM_CLASSES), matrix)
    # the decoys below the threshold appear at a lower one, so it really was the threshold that held them back
    assert lesion_matrix(events, 0.0, NUM_CLASSES).sum() > matrix.sum()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("coarse", [False, True])
def test_lesion_matrix_equals_the_literal_protocol(seed, coarse):
    images = random_images(np.random.default_rng(seed), num_images=12, coarse=coarse)
    events = lesion_events(images)
    for thr in (0.0, 0.2, 0.35, 0.5, 0.85, 1.0):
        ours = lesion_matrix(events, thr, NUM_CLASSES)
        np.testing.assert_array_equal(ours, literal_lesion_matrix(images, thr, NUM_CLASSES))


@pytest.mark.parametrize("seed", range(5))
def test_invariants(seed):
    rng = np.random.default_rng(100 + seed)
    images = random_images(rng, num_images=20, coarse=True)
    lesions = np.bincount(np.concatenate([i.gt_labels[~i.gt_ignore] for i in images]), minlength=NUM_CLASSES)
    for thr in (0.0, 0.4, 0.9):
        matrix = lesion_matrix(lesion_events(images), thr, NUM_CLASSES)
        strict = one_to_one_matrix(images, thr, NUM_CLASSES)
        for one in (matrix, strict):
            assert one[0, 0] == 0
            np.testing.assert_array_equal(one[1:].sum(axis=1), lesions)
            np.testing.assert_allclose(class_table(one).recall * lesions, np.diagonal(one)[1:])
        shuffled = [shuffle_predictions(images[i], rng) for i in rng.permutation(len(images))]
        np.testing.assert_array_equal(lesion_matrix(lesion_events(shuffled), thr, NUM_CLASSES), matrix)


def shuffle_predictions(image, rng):
    p, g = rng.permutation(len(image.pred_scores)), rng.permutation(len(image.gt_labels))
    return ImageBoxes(
        image.pred_bboxes[p],
        image.pred_scores[p],
        image.pred_labels[p],
        image.gt_bboxes[g],
        image.gt_labels[g],
        image.gt_ignore[g],
        image.gt_areas[g],
    )


def test_overlapping_predictions_count_once_and_touching_others_nowhere():
    lesion = [10, 10, 50, 50]
    image = ImageBoxes.create(
        [lesion, [12, 12, 52, 52], [200, 200, 220, 220]], [0.6, 0.9, 0.5], [0, 1, 2], [lesion], [0]
    )
    matrix = lesion_matrix(lesion_events([image]), 0.3, 3)
    expected = np.zeros((4, 4), int)
    expected[1, 2] = 1  # the higher score decides, and it is of class 1
    expected[0, 3] = 1  # only the far one is an over-detection
    np.testing.assert_array_equal(matrix, expected)


def test_one_prediction_may_serve_two_lesions_in_the_lesion_protocol_only():
    lesions = [[0, 0, 20, 20], [10, 0, 30, 20]]
    image = ImageBoxes.create([[0, 0, 30, 20]], [0.8], [0], lesions, [0, 0])
    assert lesion_matrix(lesion_events([image]), 0.5, 1)[1, 1] == 2
    assert one_to_one_matrix([image], 0.5, 1).tolist() == [[0, 0], [1, 1]]


def test_one_to_one_pairs_classes_first_then_confusions():
    lesions = [[0, 0, 20, 20], [40, 0, 60, 20]]
    preds = [[0, 0, 20, 20], [0, 0, 20, 20], [40, 0, 60, 20], [90, 90, 99, 99]]
    image = ImageBoxes.create(preds, [0.9, 0.5, 0.8, 0.7], [1, 0, 1, 0], lesions, [0, 0])
    # class 0 at .5 takes its lesion although class 1 at .9 sits on it; that one is left over -> None
    assert one_to_one_matrix([image], 0.3, 2).tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert one_to_one_matrix([image], 0.6, 2).tolist() == [[0, 1, 0], [0, 0, 2], [0, 0, 0]]


def test_crowd_is_neither_hit_nor_miss_and_swallows_predictions():
    image = ImageBoxes.create(
        [[5, 5, 15, 15], [100, 100, 120, 120]], [0.9, 0.8], [0, 0], [[0, 0, 60, 60]], [0], gt_ignore=[True]
    )
    for matrix in (lesion_matrix(lesion_events([image]), 0.1, 1), one_to_one_matrix([image], 0.1, 1)):
        assert matrix.tolist() == [[0, 1], [0, 0]]


def test_empty_sets():
    nothing = ImageBoxes.create([], [], [], [], [])
    only_lesion = ImageBoxes.create([], [], [], [[0, 0, 9, 9]], [1])
    only_pred = ImageBoxes.create([[0, 0, 9, 9]], [0.5], [0], [], [])
    assert lesion_matrix(lesion_events([]), 0.5, 2).sum() == 0
    for matrix in (
        lesion_matrix(lesion_events([nothing, only_lesion, only_pred]), 0.5, 2),
        one_to_one_matrix([nothing, only_lesion, only_pred], 0.5, 2),
    ):
        assert matrix.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_score_equal_to_the_threshold_counts():
    for thr in SCORE_GRID:
        image = ImageBoxes.create([[0, 0, 9, 9]], [thr], [0], [[0, 0, 9, 9]], [0])
        assert lesion_matrix(lesion_events([image]), thr, 1)[1, 1] == 1
        assert one_to_one_matrix([image], thr, 1)[1, 1] == 1


def test_threshold_ties_go_to_the_higher():
    image = ImageBoxes.create([[0, 0, 9, 9], [50, 50, 59, 59]], [0.62, 0.22], [0, 0], [[0, 0, 9, 9]], [0])
    choice = choose_threshold(lesion_events([image]), 1)
    assert choice.score_thr == 0.6 and choice.macro_f1 == 1.0 and choice.informative
    assert choice.curve.shape == (21,) and choice.curve[0] < 1 and choice.curve[-1] == 0


@pytest.mark.parametrize("gt", [[], [[50, 50, 60, 60]]])
def test_flat_curve_never_calls_everything_positive(gt):
    image = ImageBoxes.create([[0, 0, 9, 9]], [0.62], [0], gt, [0] * len(gt))
    choice = choose_threshold(lesion_events([image]), 1)
    assert choice.score_thr == 1.0 and not choice.informative


def test_binary_view_of_golden_matrix():
    matrix = np.array(GOLDEN["centernet_stepwise"]["matrix"])
    view = binary_view(matrix, malignant=[1, 3])
    true_pos, false_neg, missed = 825 + 102 + 84 + 554, 8 + 97 + 13 + 80, 339 + 290
    true_neg, false_pos, missed_benign = 2651 + 12 + 23 + 2359, 8 + 9 + 57 + 58, 357 + 465
    assert view.sensitivity_detected == true_pos / (true_pos + false_neg)
    assert view.sensitivity_all == true_pos / (true_pos + false_neg + missed)
    assert view.specificity_detected == true_neg / (true_neg + false_pos)
    assert view.specificity_all == (true_neg + missed_benign) / (true_neg + missed_benign + false_pos)


def test_binary_view_without_malignant_lesions_is_nan():
    assert np.isnan(binary_view(np.array([[0, 0, 0], [0, 3, 1], [0, 0, 0]]), [1]).sensitivity_all)


def test_iou_of_degenerate_boxes_is_zero():
    point, box = np.array([[5.0, 5, 5, 5]]), np.array([[0.0, 0, 10, 10]])
    assert box_iou(point, point)[0, 0] == 0 and box_iou(point, box)[0, 0] == 0
    assert box_cover(point, box)[0, 0] == 0 and box_iou(box, box)[0, 0] == 1


def literal_one_to_one(image, score_thr, num_classes):
    """Both passes, a pair at a time: the best score first takes the free lesion of the largest IoU."""
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    order = sorted(np.flatnonzero(image.above(score_thr)), key=lambda p: -image.pred_scores[p])
    taken, spent = set(np.flatnonzero(image.gt_ignore)), set()
    for same_class in (True, False):
        for p in order:
            ious = box_iou(image.pred_bboxes[p : p + 1], image.gt_bboxes)[0] if len(image.gt_labels) else []
            free = [g for g in range(len(ious)) if g not in taken and ious[g] >= 0.5]
            free = [g for g in free if not same_class or image.gt_labels[g] == image.pred_labels[p]]
            if p not in spent and free:
                best = max(free, key=lambda g: (ious[g], g))
                taken.add(best)
                spent.add(p)
                matrix[image.gt_labels[best] + 1, image.pred_labels[p] + 1] += 1
            elif p not in spent and same_class:
                crowds = np.flatnonzero(image.gt_ignore & (image.gt_labels == image.pred_labels[p]))
                cover = box_cover(image.pred_bboxes[p : p + 1], image.gt_bboxes[crowds])
                spent.update([p] if (cover >= 0.5).any() else [])
    for g in set(range(len(image.gt_labels))) - taken:
        matrix[image.gt_labels[g] + 1, 0] += 1
    for p in set(order) - spent:
        matrix[0, image.pred_labels[p] + 1] += 1
    return matrix


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("coarse", [False, True])
def test_one_to_one_matrix_equals_the_literal_protocol(seed, coarse):
    images = random_images(np.random.default_rng(seed), num_images=15, coarse=coarse, max_preds=20)
    for thr in (0.0, 0.35, 0.8):
        expected = sum(literal_one_to_one(image, thr, NUM_CLASSES) for image in images)
        np.testing.assert_array_equal(one_to_one_matrix(images, thr, NUM_CLASSES), expected)


@pytest.mark.parametrize("seed", range(4))
def test_one_to_one_diagonal_is_the_true_positives_of_coco(seed):
    matches = match(random_images(np.random.default_rng(seed), num_images=25, coarse=True), NUM_CLASSES)
    hits = [(one.outcomes[:, 0, 0] == HIT).sum() for one in coco_hits(matches)]
    np.testing.assert_array_equal(np.diagonal(one_to_one_matrix(matches, 0.0, NUM_CLASSES))[1:], hits)


def test_nothing_predicted_and_classes_without_lesions():
    matches = match([ImageBoxes.create([], [], [], [[0, 0, 9, 9]], [2])] * 3, NUM_CLASSES)
    assert matches.pred_status(0.5).shape == (0,) and matches.lesion_status(0.5).tolist() == [0, 0, 0]
    for matrix in (lesion_matrix(matches.events, 0.5, NUM_CLASSES), one_to_one_matrix(matches, 0.5, NUM_CLASSES)):
        assert matrix[3, 0] == 3 and matrix.sum() == 3
        assert class_table(matrix).macro_f1 == 0
