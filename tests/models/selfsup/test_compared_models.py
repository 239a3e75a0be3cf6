"""The compared methods as the configs build them: what moves, what stays, what a checkpoint carries."""

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.engine import read_checkpoint
from medkit.errors import ConfigError
from tests.graded import write_graded

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
METHODS = ("barlowtwins", "byol", "dino", "mae", "mocov3", "nnclr", "simclr", "simsiam")


def build(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    cfg = load_config(CONFIGS / f"{name}.py", quick=True, cfg_options=options)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    model.init_weights()
    return model.train()


@pytest.fixture(autouse=True)
def run_of_ten_steps():
    hub = MessageHub.get_current_instance()
    before = dict(hub.runtime_info)
    hub.update_info("max_iters", 10)
    hub.update_info("epoch", 0)
    yield hub
    hub.runtime_info.clear()
    hub.runtime_info.update(before)


def views(num: int = 4, size: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(num, 3, size, size, generator=generator) for _ in range(2)]


def test_methods_of_one_set_differ_in_the_method_only() -> None:
    """Equal data, views, batch and epochs; the transformers' optimizer is the only other difference."""
    for data in ("busi", "fundus_dr10"):
        configs = [load_config(CONFIGS / f"{method}_{data}.py") for method in METHODS]
        loaders = []
        for cfg in configs:
            loader = cfg.train_dataloader.to_dict()
            if cfg.model.type == "mmpretrain.MAE":  # one view of the same kind
                multi = dict(type="mmpretrain.MultiView", num_views=2, transforms=[loader["dataset"]["pipeline"][1:-1]])
                loader["dataset"]["pipeline"][1:-1] = [multi]
            loaders.append(loader)
        assert all(loader == loaders[0] for loader in loaders)
        assert len({cfg.train_cfg.max_epochs for cfg in configs}) == 1
        for cfg in configs:
            vit = cfg.model.backbone.type != "mmpretrain.ResNet"
            same = [c for c in configs if (c.model.backbone.type != "mmpretrain.ResNet") == vit]
            assert cfg.optim_wrapper.optimizer == same[0].optim_wrapper.optimizer


@pytest.mark.parametrize("name", [f"{m}_busi" for m in METHODS] + ["dino_fundus_dr10", "mocov3_fundus_dr10"])
def test_every_trained_parameter_gets_a_gradient_in_bfloat16(name: str) -> None:
    model = build(name)
    inputs = views()[0] if name.startswith("mae") else views()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(inputs, None, mode="loss")
    assert all(key.startswith("loss") for key in losses)
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
    averages = [key for key, p in model.named_parameters() if key.startswith(("momentum_encoder", "target_net"))]
    assert not any(model.get_parameter(key).requires_grad for key in averages)


@pytest.mark.parametrize("name", ["byol_busi", "mocov3_busi", "dino_busi"])
def test_moving_average_starts_as_a_copy_and_follows_the_cosine(name: str) -> None:
    model = build(name)
    average = model.target_net if name.startswith("byol") else model.momentum_encoder
    model(views(), None, mode="loss")
    online = model.backbone.conv1.weight
    copied = average.module[0].conv1.weight
    torch.testing.assert_close(copied, online)  # not the other random weights that it was built with
    with torch.no_grad():
        online.add_(1.0)
    before = copied.clone()
    model(views(), None, mode="loss")
    share = 0.02 * (1 + torch.cos(torch.tensor(torch.pi / 10))) / 2  # step 1 of 10
    torch.testing.assert_close(average.module[0].conv1.weight, before + share * (online - before))
    assert average.steps == 2  # a buffer, so in the checkpoint


def test_dino_prototypes_rest_in_the_first_epoch(run_of_ten_steps) -> None:
    model = build("dino_busi")
    weight = model.head.prototypes.weight
    model(views(), None, mode="loss")["loss"].backward()
    assert weight.grad is not None and not weight.grad.any()  # there, so that DDP finds it
    run_of_ten_steps.update_info("epoch", 1)
    model(views(), None, mode="loss")["loss"].backward()
    assert weight.grad.abs().sum() > 0


def test_dino_takes_smaller_crops_besides() -> None:
    model = build("dino_fundus_dr10")
    loss = model([*views(), *views(size=32)], None, mode="loss")["loss"]
    assert torch.isfinite(loss)
    scores = model.head.prototypes(model.neck(model.backbone(views()[0])))
    assert scores.shape == (4, 1024) and scores.abs().max() <= 1 + 1e-5


def test_nnclr_queue_takes_the_first_views_and_forgets_the_oldest() -> None:
    model = build("nnclr_busi")
    before = model.queue.clone()
    model(views(), None, mode="loss")
    torch.testing.assert_close(model.queue[4:], before[:-4])
    z = model.neck(model.backbone(views()[0]))[0]  # batch norm in training mode: the same batch gives the same
    torch.testing.assert_close(model.queue[:4], nn.functional.normalize(z.detach(), dim=1), rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match="a step of 4 images does not fit queue_size=3"):
        build("nnclr_busi", **{"model.queue_size": 3})(views(), None, mode="loss")


@pytest.mark.parametrize("name", ["dino_fundus_dr10", "nnclr_fundus_dr10"])
def test_resumed_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    """Moving average, its step count, centre and queue go on as they would have."""
    root = write_graded(tmp_path / "set", size=64, num=12)

    def go(folder: str, resume: bool | str = False) -> dict:
        options = {"max_epochs": 2, "img_size": 32, "batch_size": 2}
        cfg = load_config(
            CONFIGS / f"{name}.py", work_dir=tmp_path / folder, data_root=root, cfg_options=options | {"num_workers": 0}
        )
        cfg.train_dataloader.dataset.indices = 2
        cfg.default_hooks.checkpoint.max_keep_ckpts = 2
        train(cfg, resume=resume)
        return read_checkpoint(tmp_path / folder)["state_dict"]

    whole = go("whole")
    resumed = go("again", resume=str(tmp_path / "whole/epoch_1.pth"))
    assert whole.keys() == resumed.keys()
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []
