"""Metrics of anomaly detection: against scikit-learn, against definitions spelt out, and their faults."""

import numpy as np
import pytest
from scipy import ndimage

from medkit.evaluation.functional import anomaly as core
from medkit.evaluation.functional import anomaly_pixels as pixels
from medkit.evaluation.functional import resample
from medkit.evaluation.functional.grading import auroc

sklearn = pytest.importorskip("sklearn.metrics")


def scored(seed: int, num: int = 60, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, num - 2), [0, 1])
    scores = rng.normal(labels, 1.2)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("seed", range(4))
def test_curves_equal_scikit_learn(seed: int) -> None:
    labels, scores = scored(seed)
    assert auroc(labels, scores) == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-12)
    expected = sklearn.average_precision_score(labels, scores)
    assert core.score_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    fpr, tpr, thresholds = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    roc = core.roc_curve(labels, scores)
    for mine, theirs in zip((roc.fpr, roc.tpr, roc.thresholds), (fpr, tpr, thresholds), strict=True):
        np.testing.assert_allclose(mine, theirs)


@pytest.mark.parametrize("seed", range(3))
def test_weights_stand_for_repeated_images(seed: int) -> None:
    labels, scores = scored(seed, 40)
    weights = np.random.default_rng(seed).integers(0, 4, (3, 40))
    for row, values in enumerate(zip(*core.anomaly_metrics(labels, scores, 0.6, weights).values(), strict=True)):
        taken = np.repeat(np.arange(40), weights[row])
        np.testing.assert_allclose(values, list(core.anomaly_metrics(labels[taken], scores[taken], 0.6).values()))


@pytest.mark.parametrize("cutoff", [-0.5, 0.6, 99.0])
def test_rates_equal_scikit_learn(cutoff: float) -> None:
    labels, scores = scored(5)
    called = (scores >= cutoff).astype(int)
    rates = core.rates_at(labels, scores, cutoff)
    assert rates["precision"] == pytest.approx(sklearn.precision_score(labels, called, zero_division=0))
    assert rates["recall"] == pytest.approx(sklearn.recall_score(labels, called))
    assert rates["specificity"] == pytest.approx(sklearn.recall_score(labels, called, pos_label=0))
    assert rates["f1"] == pytest.approx(sklearn.f1_score(labels, called))


def test_cutoff_rules_do_what_they_say() -> None:
    labels, scores = scored(3, 80, ties=False)
    val, found = (labels, scores), {}
    for rule in ("validation", "youden"):
        found[rule] = core.rates_at(labels, scores, core.choose_cutoff(rule, val, (labels[:2], scores[:2])))
    every = [core.rates_at(labels, scores, cutoff) for cutoff in scores]
    gaps = [abs(one["recall"] - one["specificity"]) for one in every]
    assert abs(found["validation"]["recall"] - found["validation"]["specificity"]) == pytest.approx(min(gaps))
    assert found["youden"]["recall"] + found["youden"]["specificity"] == pytest.approx(
        max(one["recall"] + one["specificity"] for one in every)
    )
    assert core.choose_cutoff("test", None, (labels, scores)) == core.equal_rates_cutoff(labels, scores)


def test_healthy_cutoff_spares_the_quantile_and_sees_no_diseased_image() -> None:
    labels = np.repeat([0, 1], [100, 5])
    scores = np.append(np.arange(100.0), np.full(5, 1e6))
    cutoff = core.choose_cutoff("healthy", (labels, scores), (labels, scores))
    assert core.rates_at(labels, scores, cutoff)["specificity"] == 0.95
    assert core.choose_cutoff("healthy", (labels[:100], scores[:100]), (labels, scores)) == cutoff


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: core.choose_cutoff("best", None, ([0, 1], [0, 1])), "'best'; expected one of validation"),
        (lambda: core.choose_cutoff("validation", None, ([0, 1], [0, 1])), "needs validation images"),
        (lambda: core.roc_curve(np.ones(3), np.arange(3)), "needs healthy"),
        (lambda: core.rates_at([0, 2], [0, 1], 1), "a label is 2"),
        (lambda: core.rates_at([0, 1], [0, np.nan], 1), "score nan at 1"),
        (lambda: core.rates_at([0, 1], [0, 1, 2], 1), "one score"),
        (lambda: pixels.pixel_auroc(np.zeros((1, 2, 2)), np.zeros((1, 2, 3))), "both must be"),
        (lambda: pixels.pixel_auroc(np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2))), "NaN"),
        (lambda: pixels.best_dice_cutoff(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))), "empty"),
    ],
)
def test_wrong_input_is_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_intervals_by_patient_are_wider_than_by_image() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 20), 10)
    scores = np.repeat(rng.normal(labels[::10], 1), 10)  # ten equal frames of each patient
    widths = []
    for patients in ([f"p{i // 10}" for i in range(200)], None):
        draws = core.anomaly_draws(labels, scores, 0.5, resample(patients, 200, 300))
        low, high = core.anomaly_intervals(draws)["auroc"]
        assert low <= auroc(labels, scores) <= high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]


def test_aucp_is_diluted_auroc_and_silent_without_anomalies() -> None:
    rng = np.random.default_rng(0)
    sick = rng.random(20_000) < 0.3
    healthy, mixed = rng.normal(0, 1, 20_000), rng.normal(1.5 * sick, 1)
    area, said = core.aucp(healthy, mixed, 0.3)
    assert area == pytest.approx(0.5 + 0.3 * (auroc(sick.astype(int), mixed) - 0.5), abs=0.01)
    assert said == ""
    for contamination, some in ((0.0, mixed), (None, mixed[:0])):
        area, said = core.aucp(healthy, some, contamination)
        assert np.isnan(area) and said.startswith("AUCp says nothing")


def maps_and_masks(seed: int, num: int = 3, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.normal(0, 1, (num, size, size)), (0, 1, 1)) > 0.35
    masks[0] = False  # a healthy image
    return np.round(rng.normal(0.8 * masks, 1), 1), masks


@pytest.mark.parametrize("seed", range(3))
def test_aupro_equals_its_definition(seed: int) -> None:
    maps, masks = maps_and_masks(seed)
    regions = []
    for number, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [(number, labelled == k) for k in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for cutoff in np.unique(maps)[::-1]:
        called = maps >= cutoff
        points.append(((called & ~masks).sum() / (~masks).sum(), np.mean([called[n][r].mean() for n, r in regions])))
    fpr, overlap = np.array(points).T
    grid = np.unique(np.concatenate([np.linspace(0, 0.3, 20_001), fpr[fpr <= 0.3]]))
    expected = sklearn.auc(grid, np.interp(grid, fpr, overlap)) / 0.3
    assert pixels.aupro(maps, masks) == pytest.approx(expected, abs=1e-6)


def test_aupro_weighs_regions_alike_and_pixels_do_not() -> None:
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :8, :8], masks[0, 18, 18] = True, True
    only_large = np.where(masks & (np.indices(masks.shape)[1] < 10), 1.0, 0.0)
    assert pixels.aupro(only_large, masks) < 0.7 < 0.95 < pixels.pixel_auroc(only_large, masks)
    assert pixels.aupro(masks.astype(float), masks) == 1


def test_pixel_auroc_and_dice() -> None:
    maps, masks = maps_and_masks(7)
    assert pixels.pixel_auroc(maps, masks) == pytest.approx(sklearn.roc_auc_score(masks.ravel(), maps.ravel()))
    assert pixels.dice_at(maps, masks, 0.7) == pytest.approx(sklearn.f1_score(masks.ravel(), (maps >= 0.7).ravel()))
    best = pixels.dice_at(maps, masks, pixels.best_dice_cutoff(maps, masks))
    assert best == pytest.approx(max(pixels.dice_at(maps, masks, cutoff) for cutoff in np.unique(maps)))
