"""Bootstrap by patient: a draw equals the repeated images, coverage, paired comparison."""

import numpy as np
import pytest

from medkit.evaluation.coco import coco_ap
from medkit.evaluation.functional import (
    ImageBoxes,
    binary_view,
    bootstrap,
    class_table,
    compare,
    lesion_matrices_per_image,
    lesion_matrix,
    match,
    match_boxes,
    resample,
)

from .synthetic import random_images

NUM_CLASSES = 3


@pytest.mark.parametrize("coarse", [False, True])
def test_a_draw_is_what_the_repeated_images_give(coarse):
    matches = match(random_images(np.random.default_rng(4), 30, NUM_CLASSES, coarse, max_preds=25), NUM_CLASSES)
    drawn = resample([f"P{i // 3}" for i in range(30)], 30, num_draws=6, seed=1)
    result = bootstrap(matches, 0.3, drawn, malignant=[1])
    for draw, weights in enumerate(drawn.weights):
        repeated = match_boxes(matches.boxes.repeated(weights))
        matrix = lesion_matrix(repeated.events, 0.3, NUM_CLASSES)
        table, coco = class_table(matrix), coco_ap(repeated, NUM_CLASSES)
        expected = {"lesion/f1": table.macro_f1, "lesion/precision": table.macro_precision,
                    "lesion/recall": table.macro_recall, "lesion/f1_2": table.f1[2], "coco/mAP": coco.mAP,
                    "coco/mAP_50": coco.mAP_50, "coco/AP_1": coco.class_ap[1],
                    "lesion/sensitivity_all": binary_view(matrix, [1]).sensitivity_all}  # fmt: skip
        for name, value in expected.items():  # equal scores in one image fall into another order in AP
            tolerance = 1e-3 if coarse and name.startswith("coco") else 1e-12
            assert result.draws[name][draw] == pytest.approx(value, abs=tolerance), name


def test_estimates_are_those_of_the_set_and_lie_in_their_intervals():
    matches = match(random_images(np.random.default_rng(5), 80, NUM_CLASSES), NUM_CLASSES)
    result = bootstrap(matches, 0.4, resample(None, 80, num_draws=300))
    assert result.estimates["coco/mAP"] == pytest.approx(coco_ap(matches, NUM_CLASSES).mAP, abs=1e-12)
    assert result.estimates["lesion/f1"] == class_table(lesion_matrix(matches.events, 0.4, NUM_CLASSES)).macro_f1
    for name, value in result.estimates.items():
        low, high = result.interval(name)
        assert low <= value <= high and low < high, name
        assert result.interval(name, 0.5)[0] >= low


def test_images_of_a_patient_are_drawn_together():
    patients = ["a", "a", "b", "c", "c", "c"]
    drawn = resample(patients, 6, num_draws=200, seed=3)
    w = drawn.weights
    assert (w[:, 0] == w[:, 1]).all() and (w[:, 3] == w[:, 4]).all() and (w[:, 4] == w[:, 5]).all()
    assert (w[:, [0, 2, 3]].sum(axis=1) == 3).all() and drawn.unit == "3 patients" and drawn.num_units == 3
    assert (resample(patients, 6, 200, seed=3).weights == w).all()
    assert (resample(patients, 6, 200, seed=4).weights != w).any()


def test_unknown_patients_are_said():
    assert "no patient is known" in resample(None, 4).unit and resample([None, "", None, ""], 4).num_units == 4
    assert resample(["a", "a", None, ""], 4).unit == "3 patients (2 images without one count as their own)"
    with pytest.raises(ValueError, match="2 patients for 3 images"):
        resample(["a", "b"], 3)


def clustered_recall(rng, num_patients=40, per_patient=4, spread=0.9):
    """Patients of their own difficulty; a lesion per image, found or not: true recall .5."""
    lesion, images, patients = [10, 10, 40, 40], [], []
    for patient in range(num_patients):
        chance = 0.5 + spread * (rng.random() - 0.5)
        for _ in range(per_patient):
            found = rng.random() < chance
            images.append(ImageBoxes.create([lesion] if found else [], [0.9] * found, [0] * found, [lesion], [0]))
            patients.append(f"P{patient}")
    return images, patients


def test_coverage_of_the_interval_by_patient():
    """About 95 % of the intervals hold the true recall; drawing images instead would promise too much."""
    rng, hits, trials, widths = np.random.default_rng(0), 0, 100, []
    for trial in range(trials):
        images, patients = clustered_recall(rng)
        matches = match(images, 1)
        both = [bootstrap(matches, 0.5, resample(p, len(images), 150, seed=trial), ap=False) for p in (patients, None)]
        ends = [one.interval("lesion/recall") for one in both]
        hits += ends[0][0] <= 0.5 <= ends[0][1]
        widths.append([high - low for low, high in ends])
    assert 0.88 <= hits / trials <= 0.99
    assert np.mean(widths, axis=0)[0] > 1.1 * np.mean(widths, axis=0)[1]


def test_equal_models_differ_by_nothing():
    matches = match(random_images(np.random.default_rng(6), 20, NUM_CLASSES), NUM_CLASSES)
    drawn = resample(None, 20, 100)
    for one in compare(bootstrap(matches, 0.3, drawn), bootstrap(matches, 0.3, drawn)).values():
        assert (one.estimate, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_a_better_model_is_told_apart_and_noise_is_not():
    rng = np.random.default_rng(7)
    lesion = [10.0, 10, 40, 40]

    def model(chance):
        found = rng.random(150) < chance
        return match([ImageBoxes.create([lesion] * f, [0.9] * f, [0] * f, [lesion], [0]) for f in found.astype(int)], 1)

    drawn = resample(None, 150, 500)
    good, bad, same = (bootstrap(model(chance), 0.5, drawn) for chance in (0.9, 0.6, 0.6))
    better, noise = compare(good, bad)["lesion/recall"], compare(bad, same)["lesion/recall"]
    assert better.low > 0 and better.p < 0.01 and better.estimate == pytest.approx(0.3, abs=0.1)
    assert noise.low < 0 < noise.high and noise.p > 0.05
    assert compare(bad, good)["coco/mAP"].estimate == -compare(good, bad)["coco/mAP"].estimate


def test_models_on_other_draws_are_refused():
    matches = match(random_images(np.random.default_rng(8), 6, NUM_CLASSES), NUM_CLASSES)
    first = bootstrap(matches, 0.3, resample(None, 6, 20), ap=False)
    for other in (resample(None, 6, 20, seed=1), resample(["a"] * 6, 6, 20), resample(None, 6, 30)):
        with pytest.raises(ValueError, match="resampled differently"):
            compare(first, bootstrap(matches, 0.3, other, ap=False))


def test_a_class_that_a_draw_lacks_is_nan_there_and_out_of_its_mean():
    box = [10, 10, 40, 40]
    images = [ImageBoxes.create([box], [0.9], [c], [box], [c]) for c in (0, 0, 0, 1)]
    result = bootstrap(match(images, 2), 0.5, resample(None, 4, 60))
    lacks = resample(None, 4, 60).weights[:, 3] == 0
    assert lacks.any() and (np.isnan(result.draws["coco/AP_1"]) == lacks).all()
    np.testing.assert_allclose(result.draws["coco/mAP"], 1.0)
    assert np.isnan(bootstrap(match(images[:1], 2), 0.5, resample(None, 1, 5)).interval("coco/AP_1")).all()


def test_matrices_of_images_add_up():
    matches = match(random_images(np.random.default_rng(9), 15, NUM_CLASSES), NUM_CLASSES)
    thresholds = np.array([0.2, 0.5, 0.7])
    for thr in (0.3, thresholds):
        total = lesion_matrices_per_image(matches, thr).sum(axis=0)
        np.testing.assert_array_equal(total, lesion_matrix(matches.events, thr, NUM_CLASSES))
