"""The heads of studies of several images: concat-tile pooling, attention and maximum, slices in order."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from medkit.errors import ConfigError
from medkit.models.mil import AttentionMaxMIL, ConcatTileMIL, SequenceMIL, pad_bags
from tests.models.mil.golden import Golden


def test_concat_tile_equals_golden(golden_dir: Path) -> None:
    golden = Golden(golden_dir, "mil_pooling_formula")
    embedding = ConcatTileMIL(3, 2).double()(golden["feature_maps"]).embedding
    golden.close(embedding[:, :3], "concat_avg")
    golden.close(embedding[:, 3:], "concat_max")


def test_concat_tile_of_fewer_tiles_and_of_pooled_ones() -> None:
    maps, mask = torch.randn(2, 4, 3, 5, 5), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    head = ConcatTileMIL(3, 2).eval()
    maps[1, 2:] = float("nan")
    torch.testing.assert_close(head(maps, mask).logits[1:], head(maps[1:, :2]).logits)
    average = ConcatTileMIL(3, 2, with_max=False).eval()
    torch.testing.assert_close(average(maps[:1]).logits, average(maps[:1].mean((3, 4))).logits)


def test_attention_and_maximum_side_by_side() -> None:
    head, bag = AttentionMaxMIL(6, 3, grade_range=(-1, 6)), torch.randn(1, 5, 6)
    output = head(bag)
    torch.testing.assert_close(output.embedding[:, :6], (output.attention[..., None] * bag).sum(1))
    torch.testing.assert_close(output.embedding[:, 6:], bag.amax(1))
    grade = -1 + 7 * head.grade(output.embedding)[:, 0].sigmoid()
    losses = head.loss(output, torch.tensor([2]))
    torch.testing.assert_close(losses["loss_grade"], (grade[0] - 2) ** 2)
    torch.testing.assert_close(losses["loss_bag"], F.cross_entropy(output.logits, torch.tensor([2])))


def test_slices_pass_both_ways_and_padding_is_skipped() -> None:
    head, bag = SequenceMIL(6, 2, hid_channels=4), torch.randn(1, 5, 6)
    expected = head.lstm(bag)[0]
    holes = torch.full((1, 8, 6), float("nan"))
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1]]).bool()
    holes[mask] = bag[0]
    torch.testing.assert_close(head.states(holes.nan_to_num(), mask)[mask], expected[0])
    torch.testing.assert_close(head(holes, mask).logits, head(bag).logits)
    torch.testing.assert_close(head(bag).embedding[:, :8], expected.amax(1))


def test_labels_of_slices() -> None:
    head = SequenceMIL(6, 2, hid_channels=4, instance_classes=1)
    feats, mask = pad_bags([torch.randn(3, 6), torch.randn(2, 6)])
    output = head(feats, mask)
    known = torch.tensor([[1, -1, 0], [1, 0, 1]])[..., None]  # the last stands in the padding
    found = head.loss(output, torch.tensor([0, 1]), known)["loss_instance"]
    logits = output.extra["instance_logits"][..., 0]
    real = ([0, 0, 1, 1], [0, 2, 0, 1])
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits[real], known[..., 0][real].float()))
    nothing = head.loss(output, torch.tensor([0, 1]), torch.full_like(known, -1))["loss_instance"]
    assert nothing.item() == 0


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match=r"grade_range=\(6, -1\)"):
        AttentionMaxMIL(6, 2, grade_range=(6, -1))
    graded = AttentionMaxMIL(6, 2, grade_range=(-1, 6))
    with pytest.raises(ConfigError, match="one number per bag"):
        graded.loss(graded(torch.randn(1, 3, 6)), torch.ones(1, 2))
    head = SequenceMIL(6, 2)
    with pytest.raises(ConfigError, match="instance_classes=0"):
        head.loss(head(torch.randn(1, 3, 6)), torch.tensor([0]), torch.ones(1, 3, 1))
