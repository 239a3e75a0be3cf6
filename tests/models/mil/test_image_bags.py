"""ImageBagClassifier: images through a ResNet and a head; frozen parts, weights of losses, start, learning."""

from pathlib import Path

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil import ImageBagClassifier
from medkit.registry import MODELS

RESNET = dict(type="mmpretrain.ResNet", depth=18, base_channels=4, stem_channels=4, norm_cfg=dict(type="BN"))
HEADS = {
    "maps": dict(type="medkit.ConcatTileMIL", dropout=0.0),
    "grade": dict(type="medkit.AttentionMaxMIL", hid_channels=8, grade_range=(-1, 6)),
    "slices": dict(type="medkit.SequenceMIL", hid_channels=8, instance_classes=1),
    "pooling": dict(type="medkit.PoolingMIL"),
}
LENGTHS = (3, 1, 2)


def build(head: str = "pooling", backbone: dict = RESNET, width: int = 32, **options) -> ImageBagClassifier:
    torch.manual_seed(0)
    config = dict(in_channels=width, num_classes=2) | HEADS[head]
    model = MODELS.build(dict(type="medkit.ImageBagClassifier", backbone=backbone, head=config) | options)
    model.init_weights()
    return model


def batch(lengths: tuple[int, ...] = LENGTHS, weights: tuple[float, ...] = ()) -> dict:
    generator = torch.Generator().manual_seed(1)
    samples = []
    for number, length in enumerate(lengths):
        sample = DataSample(metainfo=dict(slide_id=f"s{number}", case_id=f"p{number}")).set_gt_label(number % 2)
        sample.set_field(torch.randint(-1, 2, (length, 1), generator=generator), "instance_labels")
        if weights:
            sample.set_field(weights[number], "weight")
        samples.append(sample)
    images = [torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8) for n in lengths]
    return dict(inputs=images, data_samples=samples)


def losses(model: ImageBagClassifier, data: dict) -> dict[str, Tensor]:
    """Also in float64, which the preprocessor does not make."""
    data = model.data_preprocessor(data, True)
    data["inputs"]["images"] = data["inputs"]["images"].to(next(model.parameters()).dtype)
    return model(**data, mode="loss")


def gradients(model: ImageBagClassifier, data: dict) -> list[Tensor]:
    return list(torch.autograd.grad(sum(losses(model, data).values()), [*model.parameters()]))


@pytest.mark.parametrize("head", HEADS)
def test_a_step_with_each_head(head: str) -> None:
    """With chunks that are recomputed, every parameter has the gradient that it has without."""
    plain = build(head, frozen_bn=True).double().train()
    chunked = build(head, frozen_bn=True, chunk_size=2, checkpointing=True).double().train()
    names = {"grade": {"loss_bag", "loss_grade"}, "slices": {"loss_bag", "loss_instance"}}
    assert set(losses(plain, batch())) == names.get(head, {"loss_bag"})
    expected = gradients(plain, batch())
    assert all(gradient.abs().sum() > 0 for gradient in expected[-2:])
    torch.testing.assert_close(gradients(chunked, batch()), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_padded_studies_get_what_they_get_alone(head: str) -> None:
    model, data = build(head).eval(), batch()
    together = model.test_step(batch())
    for number, sample in enumerate(together):
        alone = model.test_step({name: value[number : number + 1] for name, value in data.items()})[0]
        torch.testing.assert_close(sample.pred_score, alone.pred_score, rtol=1e-5, atol=1e-6)
        assert (sample.attention is None) == (head in ("maps", "pooling"))
        assert sample.attention is None or len(sample.attention) == LENGTHS[number]
        assert ("pred_instance_scores" in sample) == (head == "slices")
        if head == "slices":
            torch.testing.assert_close(sample.pred_instance_scores, alone.pred_instance_scores)
        assert ("pred_grade" in sample) == (head == "grade") and sample.slide_id == f"s{number}"


def statistics(model: ImageBagClassifier) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}


@pytest.mark.parametrize("options", [{}, dict(frozen_bn=True), dict(frozen=True)], ids=["live", "frozen_bn", "frozen"])
def test_what_a_step_moves(options: dict) -> None:
    model = build(**options).train()
    before, weights = statistics(model), [p.clone() for p in model.backbone.parameters()]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(losses(model, batch()).values()).backward()
    optimizer.step()
    assert all(torch.equal(before[k], v) for k, v in statistics(model).items()) == bool(options)
    moved = [not torch.equal(a, b) for a, b in zip(weights, model.backbone.parameters(), strict=True)]
    assert any(moved) == ("frozen" not in options)
    norms = [part for part in model.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(part.training == (not options) for part in norms) and model.head.training
    assert all(part.weight.requires_grad == ("frozen" not in options) for part in norms)
    assert not model.eval().training


def test_weights_of_studies_and_of_losses() -> None:
    """A weight of 3 is the study three times over; loss_weights are factors."""
    model = build("slices", loss_weights=dict(loss_instance=0.25)).double().eval()
    plain = [losses(model, {k: v[i : i + 1] for k, v in batch().items()}) for i in range(3)]
    weighted = losses(model, batch(weights=(3.0, 1.0, 1.0)))
    for name, value in weighted.items():
        mean = (3 * plain[0][name] + plain[1][name] + plain[2][name]) / 5
        torch.testing.assert_close(value, mean, rtol=1e-9, atol=1e-12)
    unscaled = build("slices").double().eval()
    torch.testing.assert_close(losses(unscaled, batch())["loss_instance"], 4 * losses(model, batch())["loss_instance"])
    torch.testing.assert_close(losses(model, batch(weights=(2.0, 2.0, 2.0))), losses(model, batch()))


def test_pretrained_fills_the_whole_backbone(tmp_path: Path) -> None:
    """mmpretrain's ResNet sets the last batch norm of a block to zero at the start; a checkpoint's must survive."""
    first = build()
    with torch.no_grad():
        for weight in first.backbone.parameters():
            weight.copy_(torch.randn_like(weight))
    torch.save(dict(state_dict=first.state_dict(), meta={}), tmp_path / "run.pth")
    second = build(pretrained=str(tmp_path / "run.pth"))
    state = first.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in second.backbone.state_dict().items())


def test_a_neck_and_a_transformer() -> None:
    pooled = build(neck=dict(type="mmpretrain.GlobalAveragePooling")).eval()
    for expected, given in zip(build().eval().test_step(batch()), pooled.test_step(batch()), strict=True):
        torch.testing.assert_close(expected.pred_score, given.pred_score)
    vit = dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32, patch_size=16)
    assert build(backbone=vit, width=192).eval().test_step(batch())[0].pred_score.shape == (2,)
    with pytest.raises(ConfigError, match=r"gives \(6, 5, 192\) for 6 images; .*out_type='cls_token'"):
        build(backbone=vit | dict(out_type="raw"), width=192).eval().test_step(batch())


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match=r"loss_weights names \['loss_grde'\]; PoolingMIL has \['loss_bag'\]"):
        losses(build(loss_weights=dict(loss_grde=1)), batch())
    data = batch()
    del data["data_samples"][1].instance_labels
    with pytest.raises(ConfigError, match=r"add the column label to images.csv"):
        losses(build("slices"), data)
    data["inputs"][0] = data["inputs"][0][..., :16]
    with pytest.raises(DatasetError, match="images of a batch of studies differ in size"):
        build().test_step(data)


@pytest.mark.parametrize("head", ["maps", "slices"])
def test_it_learns_end_to_end(head: str) -> None:
    """Which studies have a bright square in one of their images; the backbone has to learn what a square is."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(60, 120, (16, 3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(16) % 2
    marked = torch.randint(0, 3, (16,), generator=generator)
    for study in range(16):
        if labels[study]:
            images[study, marked[study], :, 8:20, 8:20] = 255
    model = build(head).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def data(rows: slice) -> dict:
        samples = [DataSample().set_gt_label(int(label)) for label in labels[rows]]
        for sample, study in zip(samples, range(16)[rows], strict=True):
            truth = (torch.arange(3) == marked[study]).long()[:, None] * labels[study]
            sample.set_field(truth, "instance_labels")
        return dict(inputs=list(images[rows]), data_samples=samples)

    for _ in range(25):
        optimizer.zero_grad()
        sum(losses(model, data(slice(0, 12))).values()).backward()
        optimizer.step()
    tested = model.eval().test_step(data(slice(8, 16)))
    assert sum(int(sample.pred_label) == int(sample.gt_label) for sample in tested) >= 7
