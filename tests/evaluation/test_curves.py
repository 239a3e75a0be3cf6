"""Curves, FROC, calibration and status against plain definitions."""

import numpy as np
import pytest

from medkit.evaluation.functional import (
    FROC_RATES,
    ImageBoxes,
    LesionStatus,
    PredStatus,
    calibration,
    calibration_of,
    class_table,
    confidence_curves,
    froc,
    lesion_matrix,
    match,
    one_to_one_matrix,
)

from .synthetic import random_images

NUM_CLASSES = 4
LESION, FAR = [10, 10, 40, 40], [200, 200, 240, 240]


@pytest.mark.parametrize("coarse", [False, True])
def test_curves_equal_the_table_at_every_threshold(coarse):
    matches = match(random_images(np.random.default_rng(0), 40, coarse=coarse), NUM_CLASSES)
    curves = confidence_curves(matches.events, NUM_CLASSES)
    assert (np.diff(curves.thresholds) > 0).all()
    for at in np.linspace(0, len(curves.thresholds) - 1, 15).astype(int):
        table = class_table(lesion_matrix(matches.events, float(curves.thresholds[at]), NUM_CLASSES))
        for name in ("precision", "recall", "f1"):
            np.testing.assert_array_equal(getattr(curves, name)[:, at], getattr(table, name))
            assert getattr(curves, f"macro_{name}")[at] == pytest.approx(getattr(table, f"macro_{name}"))


def test_no_threshold_beats_the_best_of_the_curve():
    matches = match(random_images(np.random.default_rng(1), 200, max_preds=30), NUM_CLASSES)
    best = confidence_curves(matches.events, NUM_CLASSES).f1.max(axis=1)
    every = np.unique(matches.boxes.pred_scores)
    np.testing.assert_array_equal(confidence_curves(matches.events, NUM_CLASSES, every).f1.max(axis=1), best)


def literal_froc(matches, rate):
    """The highest share of lesions found at any threshold that keeps within the rate."""
    events, best = matches.events, 0.0
    for thr in np.append(np.unique(matches.boxes.pred_scores), 2.0):
        if (events.over_scores >= thr).sum() / matches.num_images <= rate:
            best = max(best, float((events.lesion_scores >= thr).mean()))
    return best


@pytest.mark.parametrize("coarse", [False, True])
def test_froc_equals_its_definition(coarse):
    matches = match(random_images(np.random.default_rng(2), 50, coarse=coarse, max_preds=30), NUM_CLASSES)
    result = froc(matches.events, matches.num_images, NUM_CLASSES)
    np.testing.assert_allclose(result.sensitivity, [literal_froc(matches, r) for r in FROC_RATES])
    assert result.mean == pytest.approx(result.sensitivity.mean()) and (np.diff(result.sensitivity) >= 0).all()
    assert (result.named_sensitivity <= result.sensitivity).all()
    lesions = np.bincount(matches.events.lesion_labels, minlength=NUM_CLASSES)
    np.testing.assert_allclose(lesions @ result.class_sensitivity / lesions.sum(), result.sensitivity)


def test_normal_images_count_in_froc():
    hit = ImageBoxes.create([LESION, FAR, FAR], [0.5, 0.9, 0.8], [0, 0, 0], [LESION], [0])
    normal = ImageBoxes.create([], [], [], [], [])
    assert froc(match([hit], 1).events, 1, 1).sensitivity.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert froc(match([hit, normal], 1).events, 2, 1).sensitivity.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert froc(match([hit] + [normal] * 15, 1).events, 16, 1).sensitivity.tolist() == [1] * 7


def test_froc_of_an_empty_set_is_nan():
    result = froc(match([], 2).events, 0, 2)
    assert np.isnan(result.sensitivity).all() and np.isnan(result.mean) and not len(result.curve_rates)


def test_calibration_of_known_numbers():
    result = calibration(np.array([0.05, 0.15, 0.95, 0.95, 1.0]), np.array([0, 1, 1, 0, 1]))
    assert result.counts.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert result.accuracy[0] == 0 and result.accuracy[9] == pytest.approx(2 / 3) and np.isnan(result.accuracy[4])
    assert result.ece == pytest.approx((0.05 + 0.85 + 3 * abs(2 / 3 - 2.9 / 3)) / 5)
    assert np.isnan(calibration(np.zeros(0), np.zeros(0)).ece)


def test_honest_scores_are_calibrated_and_proud_ones_are_not():
    rng = np.random.default_rng(3)
    scores = rng.random(20000)
    right = rng.random(20000) < scores
    assert calibration(scores, right).ece < 0.02 < 0.2 < calibration(np.sqrt(scores), right).ece + 0.1


def test_calibration_counts_what_decides_or_touches_nothing():
    image = ImageBoxes.create(
        [LESION, [12, 12, 42, 42], FAR, [60, 60, 70, 70]], [0.75, 0.35, 0.55, 0.25], [0, 0, 1, 0], [LESION], [0]
    )
    result = calibration_of(match([image], 2))
    assert result.counts.tolist() == [0, 0, 1, 0, 0, 1, 0, 1, 0, 0]  # the second only touches
    assert result.accuracy[7] == 1 and result.accuracy[5] == 0
    assert calibration_of(match([image], 2), 0.5).counts.sum() == 2


def test_status_of_each_prediction_and_lesion():
    preds = [LESION, [12, 12, 42, 42], FAR, [70, 70, 90, 90], [130, 130, 140, 140], LESION]
    image = ImageBoxes.create(
        preds, [0.6, 0.9, 0.5, 0.7, 0.8, 0.05], [0, 1, 1, 2, 2, 0],
        [LESION, [70, 70, 90, 90], [400, 400, 420, 420], [100, 100, 160, 160]], [0, 2, 1, 0],
        gt_ignore=[False, False, False, True],
    )  # fmt: skip
    matches = match([image], 3)
    status = PredStatus
    expected = [status.EXTRA, status.CONFUSED, status.OVER, status.RIGHT, status.IGNORED, status.BELOW]
    assert matches.pred_status(0.1).tolist() == expected
    assert matches.lesion_status(0.1).tolist() == [LesionStatus.CONFUSED, LesionStatus.RIGHT, LesionStatus.MISSED]
    assert matches.deciding_preds(0.1).tolist() == [1, 3, -1]
    own = np.array([0.1, 0.95, 0.1])  # class 1 needs .95: the lesion goes to class 0
    assert matches.lesion_status(own).tolist() == [LesionStatus.RIGHT, LesionStatus.RIGHT, LesionStatus.MISSED]
    expected = [status.RIGHT, status.BELOW, status.BELOW, status.RIGHT, status.IGNORED, status.BELOW]
    assert matches.pred_status(own).tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_status_adds_up_to_the_matrix(seed):
    matches = match(random_images(np.random.default_rng(seed), 25, coarse=True), NUM_CLASSES)
    for thr in (0.0, 0.35, np.array([0.2, 0.5, 0.35, 0.7])):
        matrix = lesion_matrix(matches.events, thr, NUM_CLASSES)
        lesions, preds = matches.lesion_status(thr), matches.pred_status(thr)
        assert (lesions == LesionStatus.MISSED).sum() == matrix[1:, 0].sum()
        assert (lesions == LesionStatus.RIGHT).sum() == np.trace(matrix)
        assert (preds == PredStatus.OVER).sum() == matrix[0].sum()
        kept = matches.boxes.pred_scores >= np.broadcast_to(np.float32(thr), NUM_CLASSES)[matches.boxes.pred_labels]
        assert ((preds != PredStatus.BELOW) == kept).all()


@pytest.mark.parametrize("seed", range(6))
def test_thresholds_per_class_are_as_if_the_rest_were_not_there(seed):
    images = random_images(np.random.default_rng(seed), 20, coarse=seed % 2 == 0)
    thr = np.array([0.15, 0.6, 0.35, 0.8])
    filtered = []
    for i in images:
        kept = i.above(thr)
        assert (kept == (i.pred_scores >= thr.astype(np.float32)[i.pred_labels])).all()
        filtered.append(ImageBoxes.create(i.pred_bboxes[kept], i.pred_scores[kept], i.pred_labels[kept],
                                          i.gt_bboxes, i.gt_labels, i.gt_ignore, i.gt_areas))  # fmt: skip
    all_of_them, only = match(images, NUM_CLASSES), match(filtered, NUM_CLASSES)
    expected = lesion_matrix(only.events, 0.0, NUM_CLASSES)
    np.testing.assert_array_equal(lesion_matrix(all_of_them.events, thr, NUM_CLASSES), expected)
    np.testing.assert_array_equal(lesion_matrix(all_of_them.events.reaching(thr), 0.0, NUM_CLASSES), expected)
    np.testing.assert_array_equal(
        one_to_one_matrix(all_of_them, thr, NUM_CLASSES), one_to_one_matrix(only, 0.0, NUM_CLASSES)
    )
