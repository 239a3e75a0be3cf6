"""The SSiT configs build what was published: sizes, decay on every parameter, batch and lr, watched outputs."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from medkit.apis.config import load_config
from medkit.engine import load_backbone

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SSIT = sorted(CONFIGS.glob("ssit_*.py"))


def build(cfg: Config, device: str = "meta") -> nn.Module:
    with DefaultScope.overwrite_default_scope("mmpretrain"), torch.device(device):
        return MODELS.build(cfg.model)


def millions(module: nn.Module) -> float:
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 3)


@pytest.mark.parametrize("name", ["ssit_vit-s_fundus", "ssit_vit-s_fundus_1gpu"])
def test_published_network(name: str) -> None:
    cfg = load_config(CONFIGS / f"{name}.py")
    model = build(cfg)
    encoder = nn.ModuleList((model.backbone, model.neck))
    found = [millions(m) for m in (model, encoder, model.neck, model.head.predictor, model.head.segmentor)]
    assert found == [84.365, 41.081, 19.415, 2.105, 0.099]
    assert (model.mask_ratio, model.pool_mode, model.saliency_weight) == (0.25, "max", 10)
    assert (model.head.loss_module.temperature, model.head.saliency_threshold) == (0.2, 0.5)
    assert (cfg.max_epochs, cfg.img_size, cfg.auto_scale_lr.base_batch_size) == (300, 224, 512)
    assert cfg.param_scheduler[0].warmup == 40


@pytest.mark.parametrize("path", SSIT, ids=lambda p: p.stem)
def test_every_parameter_decays(path: Path) -> None:
    cfg = load_config(path)
    groups = build_optim_wrapper(build(cfg), cfg.optim_wrapper).param_groups
    assert [g["weight_decay"] for g in groups] == [0.1]
    assert cfg.optim_wrapper.clip_grad.max_norm == 1


@pytest.mark.parametrize("path", SSIT, ids=lambda p: p.stem)
def test_watched_outputs_exist_and_stand_before_the_last_batch_norm(path: Path) -> None:
    cfg = load_config(path)
    model = build(cfg)
    outputs = next(h for h in cfg.custom_hooks if h.type == "medkit.CollapseMonitorHook").outputs
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in outputs.values())
    assert isinstance(model.get_submodule("neck.bn2"), nn.BatchNorm1d)


def test_backbone_of_a_checkpoint_is_the_trained_one_not_its_average() -> None:
    cfg = load_config(CONFIGS / "ssit_vit-t_busi.py")
    model = build(cfg, "cpu")
    nn.init.ones_(model.backbone.pos_embed)
    encoder = build(cfg, "cpu").backbone
    report = load_backbone(encoder, {"state_dict": model.state_dict()})
    assert report.prefix == "backbone." and not report.missing and encoder.pos_embed.eq(1).all()
