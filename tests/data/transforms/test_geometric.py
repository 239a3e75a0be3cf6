"""RandomScaleShift: boxes follow the pixels, what has left the frame goes, empty images pass."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from medkit.data.transforms import RandomScaleShift
from medkit.data.transforms.geometric import affine_matrix, move_boxes
from medkit.errors import ConfigError
from medkit.registry import TRANSFORMS


def sample(boxes, size=(96, 128), channels=3) -> dict:
    """A black image with each box painted white."""
    image = np.zeros((*size, channels), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[int(y1) : int(y2), int(x1) : int(x2)] = 255
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "img": image,
        "img_shape": size,
        "gt_bboxes": HorizontalBoxes(tensor),
        "gt_bboxes_labels": np.arange(len(boxes)),
        "gt_ignore_flags": np.zeros(len(boxes), bool),
    }


def fixed(transform: RandomScaleShift, zoom=1.0, turn=0.0, shift_x=0.0, shift_y=0.0) -> RandomScaleShift:
    transform._draw = lambda: (zoom, turn, shift_x, shift_y)
    return transform


def test_boxes_follow_the_pixels():
    np.random.seed(0)
    transform = TRANSFORMS.build(dict(type="medkit.RandomScaleShift", scale=(0.7, 1.4), shift=0.1))
    for _ in range(50):
        result = transform(sample([[50, 40, 80, 60]]))
        (box,) = result["gt_bboxes"].tensor.numpy()
        rows, columns = np.nonzero(result["img"][..., 0] > 127)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, seen, atol=0.75)
        assert result["img"].shape == (96, 128, 3)


def test_neutral_draw_changes_nothing():
    before = sample([[50, 40, 80, 60]])
    after = fixed(RandomScaleShift())(sample([[50, 40, 80, 60]]))
    np.testing.assert_array_equal(after["img"], before["img"])
    assert after["gt_bboxes"].tensor.tolist() == [[50, 40, 80, 60]]


def test_zoom_keeps_the_centre():
    (box,) = move_boxes(
        torch.tensor([[44.0, 28, 84, 68]]), torch.from_numpy(affine_matrix(128, 96, 0.5, 0, 0, 0)).float()
    )
    assert box.tolist() == [54, 38, 74, 58]


def test_turned_circle_keeps_its_box():
    matrix = torch.from_numpy(affine_matrix(100, 100, 1, np.deg2rad(20), 0, 0)).float()
    torch.testing.assert_close(
        move_boxes(torch.tensor([[40.0, 40, 60, 60]]), matrix), torch.tensor([[40.0, 40, 60, 60]])
    )


def test_turned_ellipse_box_matches_a_drawn_one():
    angle = np.linspace(0, 2 * np.pi, 4000)
    points = np.stack([60 + 20 * np.cos(angle), 30 + 8 * np.sin(angle), np.ones_like(angle)])
    matrix = affine_matrix(100, 100, 1.2, np.deg2rad(15), 0.05, 0)
    x, y = matrix @ points
    (box,) = move_boxes(torch.tensor([[40.0, 22, 80, 38]]), torch.from_numpy(matrix).float())
    np.testing.assert_allclose(box, [x.min(), y.min(), x.max(), y.max()], atol=1e-3)


def test_what_has_left_is_dropped_and_the_rest_is_cut():
    boxes = [[0, 0, 20, 20], [100, 40, 128, 60], [50, 40, 60, 50]]
    result = fixed(RandomScaleShift(min_visible=0.3), shift_x=0.2)(sample(boxes))  # 25.6 px to the right
    assert result["gt_bboxes_labels"].tolist() == [0, 2]  # of the second, 2.4 of 28 px are left
    assert result["gt_ignore_flags"].shape == (2,)
    torch.testing.assert_close(result["gt_bboxes"].tensor[0], torch.tensor([25.6, 0, 45.6, 20]))
    all_kept = fixed(RandomScaleShift(min_visible=0.0), shift_x=0.2)(sample(boxes))
    torch.testing.assert_close(all_kept["gt_bboxes"].tensor[1], torch.tensor([125.6, 40, 128, 60]))


def test_box_wholly_outside_goes_even_with_min_visible_zero():
    result = fixed(RandomScaleShift(min_visible=0.0), shift_x=0.5)(sample([[100, 40, 120, 60]]))
    assert len(result["gt_bboxes"]) == 0
    assert result["gt_bboxes"].tensor.shape == (0, 4)


def test_too_small_a_box_goes():
    result = fixed(RandomScaleShift(min_size=4), zoom=0.5)(sample([[50, 40, 57, 60], [50, 40, 60, 60]]))
    assert result["gt_bboxes_labels"].tolist() == [1]


@pytest.mark.parametrize("with_key", [True, False])
def test_image_without_boxes(with_key):
    np.random.seed(0)
    results = sample([])
    if not with_key:
        results = {"img": results["img"]}
    out = RandomScaleShift(rotate_deg=5)(results)
    assert out["img"].shape == (96, 128, 3)
    assert ("gt_bboxes" in out) == with_key
    if with_key:
        assert out["gt_bboxes"].tensor.shape == (0, 4)
        assert out["gt_bboxes_labels"].shape == (0,)


def test_boxes_as_array_stay_an_array():
    results = sample([[50, 40, 80, 60]])
    results["gt_bboxes"] = results["gt_bboxes"].numpy()
    out = fixed(RandomScaleShift(), shift_x=0.1)(results)
    np.testing.assert_allclose(out["gt_bboxes"], [[62.8, 40, 92.8, 60]], rtol=1e-6)


def test_new_ground_is_black_by_default_and_prob_zero_is_identity():
    results = sample([])
    results["img"][:] = 200
    out = fixed(RandomScaleShift(), zoom=0.5)(results)["img"]
    assert out[:10].max() == 0
    assert out[48, 64].tolist() == [200] * 3
    image = sample([])["img"]
    assert RandomScaleShift(prob=0.0)({"img": image})["img"] is image


def test_masks_and_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="with_mask=False"):
        RandomScaleShift()({**sample([]), "gt_masks": object()})
    with pytest.raises(ConfigError, match=r"scale=\(0, 1\)"):
        RandomScaleShift(scale=(0, 1))
