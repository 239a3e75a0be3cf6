"""BagClassifier: any head as a model of mmengine; padding changes nothing, one logit is two classes."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.mil import BagClassifier

D = 6
HEADS = {
    "ABMIL": dict(num_classes=3),
    "CLAM": dict(num_classes=2, multi_branch=True, k=2),
    "DSMIL": dict(num_classes=1),
    "MaxInstanceMIL": dict(num_classes=2),
    "PoolingMIL": dict(num_classes=2),
    "SparseConvMIL": dict(num_classes=2, cell=1.0, channels=(4,)),
    "TransMIL": dict(num_classes=2, embed_channels=16),
}


def classifier(name: str, **options) -> BagClassifier:
    head = dict(type=f"medkit.{name}", in_channels=D) | HEADS.get(name, {}) | options.pop("head", {})
    torch.manual_seed(0)
    return BagClassifier(head, **options)


def batch(sizes: tuple[int, ...] = (5, 3, 9), labels: tuple[int, ...] = (0, 1, 1), coords: bool = True) -> dict:
    rng = torch.Generator().manual_seed(1)
    feats = [torch.randn(size, D, generator=rng).half() for size in sizes]
    places = [torch.randint(6, (size, 2), generator=rng).float() if coords else None for size in sizes]
    samples = [DataSample(metainfo=dict(slide_id=f"s{n}")).set_gt_label(label) for n, label in enumerate(labels)]
    return dict(inputs=dict(feats=feats, coords=places), data_samples=samples)


def part(data: dict, number: int) -> dict:
    inputs = {name: values[number : number + 1] for name, values in data["inputs"].items()}
    return dict(inputs=inputs, data_samples=data["data_samples"][number : number + 1])


@pytest.mark.parametrize("name", HEADS)
def test_predictions(name: str) -> None:
    """Probabilities that add up to 1, attention as long as the bag, and the same alone as in a batch."""
    model = classifier(name).eval()
    data = batch()
    samples = model.val_step(data)
    for number, size in enumerate((5, 3, 9)):
        sample = samples[number]
        assert sample.pred_score.shape == (model.num_classes,) and float(sample.pred_score.sum()) == pytest.approx(1)
        assert int(sample.pred_label) == int(sample.pred_score.argmax()) and sample.slide_id == f"s{number}"
        attention = sample.attention
        assert attention is None if name in ("PoolingMIL", "SparseConvMIL") else attention.shape == (size,)
        scores = sample.pred_score.clone()
        alone = model.val_step(part(data, number))[0]
        torch.testing.assert_close(alone.pred_score, scores, rtol=1e-4, atol=1e-5)
        if attention is not None:
            torch.testing.assert_close(alone.attention, attention, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_losses_have_gradients(name: str, amp: bool) -> None:
    model = classifier(name).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        losses = model(**model.data_preprocessor(batch(), True), mode="loss")
        total, logged = model.parse_losses(losses)
    total.backward()
    assert total.dtype == torch.float32 and "loss_bag" in logged
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_learning() -> None:
    """A few steps through mmengine's own train_step tell two kinds of bags apart."""
    from mmengine.optim import OptimWrapper

    model = classifier("ABMIL", head=dict(num_classes=2))
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), 0.01))
    data = batch((4, 6, 3, 5), (0, 1, 0, 1))
    for bag in data["inputs"]["feats"][1::2]:
        bag[0, 0] += 5
    for _ in range(30):
        model.train_step(data, wrapper)
    model.eval()
    samples = model.val_step(data)
    assert [int(sample.pred_label) for sample in samples] == [0, 1, 0, 1]
    assert int(samples[1].attention.argmax()) == 0 == int(samples[3].attention.argmax())


def scores_of(model: BagClassifier, logits: list[list[float]]) -> Tensor:
    return model.probabilities(torch.tensor(logits))


def test_probabilities() -> None:
    one = classifier("ABMIL", head=dict(num_classes=1))
    torch.testing.assert_close(scores_of(one, [[0.0], [1.0]])[:, 1], torch.tensor([0.0, 1.0]).sigmoid())
    assert one.num_classes == 2
    several = classifier("ABMIL")
    torch.testing.assert_close(scores_of(several, [[1.0, 2, 3]]), torch.tensor([[1.0, 2, 3]]).softmax(1))


def test_a_negative_class_is_the_absence_of_the_others() -> None:
    model = classifier("DSMIL", head=dict(num_classes=2), negative_class=True)
    assert model.num_classes == 3
    assert model.targets(torch.tensor([0, 1, 2])).tolist() == [[0, 0], [1, 0], [0, 1]]
    scores = scores_of(model, [[-5.0, -4.0], [3.0, -3.0], [-3.0, 3.0], [-0.1, -0.1], [0.1, -0.1]])
    assert scores.argmax(dim=1).tolist() == [0, 1, 2, 0, 1]  # positive from 0.5, as published
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(5))
    plain = classifier("DSMIL", head=dict(num_classes=2))  # subtyping: each class has a logit
    assert plain.num_classes == 2 and plain.targets(torch.tensor([0, 1])).tolist() == [0, 1]
    torch.testing.assert_close(scores_of(plain, [[0.0, 0.0]]), torch.tensor([[0.5, 0.5]]))


def test_which_row_of_attention_is_shown() -> None:
    data = batch()
    rows = {shown: classifier("CLAM", attended_class=shown).eval().val_step(data) for shown in (None, 0, 1)}
    model = classifier("CLAM").eval()
    output = model(**model.data_preprocessor(data), mode="tensor")
    for number, size in enumerate((5, 3, 9)):
        attention = output.attention[number, :, :size]
        predicted = int(output.logits[number].argmax())
        for shown, row in ((None, predicted), (0, 0), (1, 1)):
            torch.testing.assert_close(rows[shown][number].attention, attention[row])
    branches = classifier("ABMIL", head=dict(branches=3)).eval()  # as many as classes, but of none
    output = branches(**branches.data_preprocessor(data), mode="tensor")
    torch.testing.assert_close(branches.val_step(data)[0].attention, output.attention[0, :, :5].mean(dim=0))
    with pytest.raises(ConfigError, match="attended_class=0; the head's classes are 1 to 1"):
        classifier("DSMIL", attended_class=0)


def test_coordinates_are_passed_where_all_bags_have_them() -> None:
    model = classifier("ABMIL")
    data = batch()
    assert model.data_preprocessor(data)["inputs"]["coords"].shape == (3, 9, 2)
    data["inputs"]["coords"][1] = None
    assert model.data_preprocessor(data)["inputs"]["coords"] is None
    with pytest.raises(ConfigError, match="needs coords"):
        classifier("SparseConvMIL").val_step(data)


def test_faults() -> None:
    with pytest.raises(ConfigError, match="is no head for bags"):
        BagClassifier(dict(type="mmpretrain.LinearClsHead", num_classes=2, in_channels=3))
    model = classifier("PoolingMIL")
    with pytest.raises(ConfigError, match=r"labels \[0, 1, 2\] for 2 classes"):
        model(**model.data_preprocessor(batch(labels=(0, 1, 2))), mode="loss")
    with pytest.raises(ConfigError, match="mode='fit'"):
        model(**model.data_preprocessor(batch()), mode="fit")
