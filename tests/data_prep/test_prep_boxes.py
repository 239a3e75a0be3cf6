from pathlib import Path

import numpy as np
import pytest

from data_prep.boxes import MIN_BOX, check_boxes, check_labels, clip_box, iou
from data_prep.records import LIVER_CLASSES, Lesion, Record


def record(*lesions, diagnosis="cyst", size=(200, 100)) -> Record:
    boxes = [Lesion(box, label) for box, label in lesions]
    return Record(
        "a.png",
        Path("a.png"),
        diagnosis=diagnosis,
        lesions=boxes,
        boxes_in=len(boxes),
        width=size[0],
        height=size[1],
    )


@pytest.mark.parametrize("seed", range(20))
def test_boxes_end_inside_the_image_or_are_rejected_with_a_reason(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        width, height = (int(value) for value in rng.integers(3, 500, 2))
        box = tuple(rng.choice([*rng.uniform(-600, 600, 12), np.nan, np.inf, -np.inf, 0.0, width, height], 4).tolist())
        clipped, fault = clip_box(box, width, height)
        assert (clipped is None) == bool(fault)
        if clipped:
            x1, y1, x2, y2 = clipped
            assert x1 >= 0 and x1 + MIN_BOX <= x2 <= width and y1 >= 0 and y1 + MIN_BOX <= y2 <= height


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((10, 10, 5, 20), "inverted"),
        ((10, 10, 10, 20), "empty"),
        ((200, 10, 260, 20), "outside"),
        ((-50, -50, -1, -1), "outside"),
        ((float("nan"), 0, 5, 5), "not_finite"),
    ],
)
def test_every_kind_of_bad_box_is_named(box, fault):
    found = record((box, "cyst"), ((10, 10, 50, 50), "cyst"))
    check_boxes(found, LIVER_CLASSES)
    assert [note.code for note in found.notes] == [f"box_{fault}"]
    assert [lesion.box for lesion in found.lesions] == [(10, 10, 50, 50)]


def test_boxes_are_clipped_classes_spelled_and_repeats_removed():
    found = record(((-5, 10, 40, 140), " CYST"), ((0, 10, 40, 100), "cyst"), ((5, 5, 50, 50), "what"))
    check_boxes(found, LIVER_CLASSES)
    assert found.lesions == [Lesion((0, 10, 40, 100), "cyst")]
    assert [note.code for note in found.notes] == ["box_clipped", "box_repeated", "box_unknown_class"]
    assert "[-5 10 40 140] -> [0 10 40 100]" in found.notes[0].detail


def test_a_lesion_without_box_is_dropped_and_a_normal_frame_is_not():
    ill, healthy = record(diagnosis="HCC"), record(diagnosis="normal")
    check_labels(ill)
    check_labels(healthy)
    assert ill.reason == "lesion_without_box" and "HCC" in ill.detail
    assert healthy.kept and not healthy.notes


def test_a_mask_of_another_size_drops_the_image():
    found = record(((10, 10, 50, 50), "cyst"))
    found.mask_size = (100, 100)
    check_boxes(found, LIVER_CLASSES)
    assert found.reason == "mask_size"


def test_iou():
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 2, 2), (2, 0, 3, 3)) == 0
