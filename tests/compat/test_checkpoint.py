"""Weights of mmselfsup's SimSiam classes load into mmpretrain's without a key left over."""

import pytest
import torch
from mmpretrain.models import NonLinearNeck, ResNet, SimSiam
from torch import nn

from medkit.compat import convert_mmselfsup_state_dict
from medkit.errors import WeightsError

NECK = dict(in_channels=512, hid_channels=8, out_channels=8, num_layers=3, with_last_bn_affine=False)
PREDICTOR = dict(
    in_channels=8,
    hid_channels=4,
    out_channels=8,
    with_avg_pool=False,
    with_last_bn=False,
    with_last_bias=True,
)


class Head0(nn.Module):
    """Parts of mmselfsup 0.x's LatentPredictHead."""

    def __init__(self):
        super().__init__()
        self.predictor = NonLinearNeck(**PREDICTOR)


class SimSiam0(nn.Module):
    """Parts of mmselfsup 0.x's SimSiam, under the names and in the order of its constructor."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(ResNet(18), NonLinearNeck(**NECK))
        self.backbone = self.encoder[0]
        self.neck = self.encoder[1]
        self.head = Head0()


class SimSiam1(nn.Module):
    """Parts of mmselfsup 1.x's SimSiam; its loss and preprocessor keep nothing in the state dict."""

    def __init__(self):
        super().__init__()
        self.backbone = ResNet(18)
        self.neck = NonLinearNeck(**NECK)
        self.head = Head0()


@pytest.fixture
def model():
    return SimSiam(
        backbone=dict(type="mmpretrain.ResNet", depth=18),
        neck=dict(type="mmpretrain.NonLinearNeck", **NECK),
        head=dict(
            type="mmpretrain.LatentPredictHead",
            loss=dict(type="mmpretrain.CosineSimilarityLoss"),
            predictor=dict(type="mmpretrain.NonLinearNeck", **PREDICTOR),
        ),
    )


def encoder_only(state):
    return {name: value for name, value in state.items() if not name.startswith(("backbone.", "neck."))}


def distributed(state):
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("old", "change"),
    [
        (SimSiam0, dict),
        (SimSiam0, distributed),
        (SimSiam0, encoder_only),
        (SimSiam1, dict),
        (SimSiam1, distributed),
    ],
)
def test_every_weight_arrives(model, old, change):
    source = old()
    model.load_state_dict(convert_mmselfsup_state_dict(change(source.state_dict())), strict=True)
    for ours, theirs in (
        (model.backbone, source.backbone),
        (model.neck, source.neck),
        (model.head, source.head),
    ):
        torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)


def test_own_weights_pass_unchanged(model):
    state = model.state_dict()
    assert convert_mmselfsup_state_dict(state) == state


def test_wrong_inputs_are_named(model):
    with pytest.raises(WeightsError, match=r"checkpoint\['state_dict'\]"):
        convert_mmselfsup_state_dict({"meta": {}, "state_dict": model.state_dict()})
    with pytest.raises(WeightsError, match=r"the first names are conv1\.weight"):
        convert_mmselfsup_state_dict(model.backbone.state_dict())
