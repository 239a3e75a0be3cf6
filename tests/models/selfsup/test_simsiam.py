"""SimSiam as the configs build it: parity with the official numbers, shapes, use of its backbone in mmdet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models.heads import LatentPredictHead
from mmpretrain.models.necks import NonLinearNeck

from medkit.apis.config import load_config
from medkit.models.selfsup import CosineSimilarityLoss

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.fixture(scope="module")
def cfg() -> Config:
    return load_config(CONFIGS / "simsiam_liver.py")


@pytest.fixture(scope="module")
def model(cfg: Config) -> torch.nn.Module:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, torch.Tensor]:
    with np.load(golden_dir / "mmpretrain_simsiam.npz") as arrays:
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def head_of(golden: dict[str, torch.Tensor]) -> LatentPredictHead:
    """Predictor with the golden weights and the running statistics of a new network."""
    predictor = dict(
        type="mmpretrain.NonLinearNeck",
        in_channels=32,
        hid_channels=8,
        out_channels=32,
        with_avg_pool=False,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=dict(type="BN1d"),
    )
    head = LatentPredictHead(loss=dict(type="medkit.CosineSimilarityLoss"), predictor=predictor)
    weights = {k.removeprefix("head."): v for k, v in golden.items() if k.startswith("head.")}
    head.load_state_dict(weights)
    head.predictor.bn0.reset_running_stats()
    return head


def test_loss_equals_golden(golden) -> None:
    head = head_of(golden)
    loss_12, loss_21 = head.loss(golden["z1"], golden["z2"]), head.loss(golden["z2"], golden["z1"])
    torch.testing.assert_close(loss_12, golden["loss_12"], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(loss_21, golden["loss_21"], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close((loss_12 + loss_21) / 2, golden["loss"], rtol=1e-4, atol=1e-7)
    for name in ("running_mean", "running_var", "num_batches_tracked"):  # z1 went first, then z2
        torch.testing.assert_close(
            getattr(head.predictor.bn0, name), golden[f"head.predictor.bn0.{name}"], rtol=1e-4, atol=1e-6
        )


def test_neck_takes_golden_weights(golden) -> None:
    neck = NonLinearNeck(24, 24, 32, num_layers=3, with_last_bn_affine=False, norm_cfg=dict(type="BN1d"))
    neck.load_state_dict({k.removeprefix("neck."): v for k, v in golden.items() if k.startswith("neck.")})
    z = neck((torch.randn(8, 24, 2, 2),))[0]
    for found in (z.detach(), golden["z1"]):  # the last batch norm has no affine part: both are standardised
        torch.testing.assert_close(found.mean(0), torch.zeros(32), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.var(0, correction=0), torch.ones(32), rtol=0, atol=2e-2)


def test_only_the_prediction_receives_gradient(golden) -> None:
    z1, z2 = golden["z1"].requires_grad_(), golden["z2"].requires_grad_()
    head_of(golden).loss(z1, z2).backward()
    assert z1.grad is not None and z1.grad.abs().sum() > 0
    assert z2.grad is None


def test_architecture_follows_the_official_resnet18(model) -> None:
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if not n.startswith("backbone.")}
    assert shapes == {
        "neck.fc0.weight": (512, 512),
        "neck.bn0.weight": (512,),
        "neck.bn0.bias": (512,),
        "neck.fc1.weight": (512, 512),
        "neck.bn1.weight": (512,),
        "neck.bn1.bias": (512,),
        "neck.fc2.weight": (2048, 512),
        "head.predictor.fc0.weight": (512, 2048),
        "head.predictor.bn0.weight": (512,),
        "head.predictor.bn0.bias": (512,),
        "head.predictor.fc1.weight": (2048, 512),
        "head.predictor.fc1.bias": (2048,),
    }
    last_norms = [m for n, m in model.backbone.named_modules() if n.endswith(".bn2")]
    assert len(last_norms) == 8 and all((m.weight == 0).all() for m in last_norms)


def test_backbone_weights_fit_mmdet(model) -> None:
    from mmdet.models.backbones import ResNet

    missing, unexpected = ResNet(depth=18).load_state_dict(model.backbone.state_dict(), strict=True)
    assert not missing and not unexpected


def test_loss_is_float32_under_bfloat16() -> None:
    pred = torch.randn(8, 64).bfloat16()
    loss = CosineSimilarityLoss()(pred, pred + torch.randn(8, 64).bfloat16() * 0.03)
    assert loss.dtype == torch.float32
    assert -1 < loss.item() < -0.999  # bfloat16 would round it to -1


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_step_gives_finite_gradients_everywhere(model, amp: bool) -> None:
    model.train()
    model.zero_grad()
    views = [torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32)]
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = model(views, None, mode="loss")["loss"]
    loss.backward()
    assert loss.dtype == torch.float32 and -1 <= loss.item() <= 1
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
