"""The predictor keeps its initial lr: after scaling, by epoch and by iteration, after a resumption."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.engine.hooks import SimSiamHook

from medkit.engine import FixPredictorLRHook
from medkit.errors import ConfigError


class Siamese(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(2, 2)
        self.predictor = torch.nn.Linear(2, 2)

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> dict:
        return dict(loss=self.predictor(self.encoder(inputs)).square().mean())


class LRLog(Hook):
    """Records (encoder lr, predictor lr) that an optimizer step really used."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.rates: list[tuple[float, float]] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        encoder, _, predictor, _ = runner.optim_wrapper.optimizer.param_groups
        self.rates.append((encoder["lr"], predictor["lr"]))


def build(work_dir: Path, hooks: list[Hook], epochs: int = 100, by_epoch: bool = True, **options) -> Runner:
    """Batch 512 at a base lr of 0.05 per 256; one iteration per epoch."""
    end = epochs if by_epoch else epochs * 2
    dataset = [dict(inputs=torch.zeros(2)) for _ in range(512 if by_epoch else 1024)]
    optimizer = ConfigDict(type="SGD", lr=0.05, momentum=0.9)
    tag = dict(fix_lr=True) if options.pop("tag", True) else dict(lr_mult=1.0)
    return Runner(
        Siamese(),
        str(work_dir),
        train_dataloader=dict(
            batch_size=512,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dataset,
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=options.pop("max_epochs", epochs)),
        optim_wrapper=dict(optimizer=optimizer, paramwise_cfg=dict(custom_keys=dict(predictor=tag))),
        auto_scale_lr=dict(enable=True, base_batch_size=256),
        param_scheduler=options.pop(
            "param_scheduler", dict(type="CosineAnnealingLR", T_max=end, begin=0, end=end, by_epoch=by_epoch)
        ),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=10), logger=None, timer=None),
        custom_hooks=hooks,
        experiment_name=f"{work_dir.name}_{id(hooks)}",
        log_level="ERROR",
        **options,
    )


def test_schedule_equals_golden(tmp_path: Path, golden_dir: Path) -> None:
    log = LRLog()
    build(tmp_path, [FixPredictorLRHook(), log]).train()
    rates = np.array(log.rates)
    with np.load(golden_dir / "simsiam_schedule.npz") as golden:
        epochs = golden["epoch"][:-1]  # epoch 100 is never trained
        np.testing.assert_allclose(rates[epochs, 0], golden["lr_encoder"][:-1], rtol=0, atol=1e-9)
        np.testing.assert_allclose(rates[epochs, 1], golden["lr_predictor_fixed"][:-1], rtol=0, atol=1e-9)


def test_hook_of_mmpretrain_undoes_the_scaling(tmp_path: Path) -> None:
    """The trap: the number in the config is set after the lr of all groups was scaled by 512 / 256."""
    log = LRLog()
    build(tmp_path, [SimSiamHook(fix_pred_lr=True, lr=0.05), log], epochs=2).train()
    assert [predictor for _, predictor in log.rates] == [0.05, 0.05]
    assert log.rates[0][0] == pytest.approx(0.1)


def test_scheduler_by_iteration(tmp_path: Path) -> None:
    log = LRLog()
    build(tmp_path, [FixPredictorLRHook(), log], epochs=5, by_epoch=False).train()
    encoder, predictor = zip(*log.rates, strict=True)
    assert len(encoder) == 10 and len(set(encoder)) == 10
    assert set(predictor) == {0.1}


def test_warm_up_does_not_lower_it(tmp_path: Path) -> None:
    log = LRLog()
    schedulers = [
        dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=True),
        dict(type="CosineAnnealingLR", T_max=2, begin=2, end=4, by_epoch=True),
    ]
    build(tmp_path, [FixPredictorLRHook(), log], epochs=4, param_scheduler=schedulers).train()
    assert log.rates[0][0] == pytest.approx(0.01)
    assert {predictor for _, predictor in log.rates} == {0.1}


def test_no_scheduler(tmp_path: Path) -> None:
    log = LRLog()
    build(tmp_path, [FixPredictorLRHook(), log], epochs=2, param_scheduler=None).train()
    assert log.rates == [(0.1, 0.1)] * 2


def test_resumed_run_goes_on(tmp_path: Path) -> None:
    whole, first, second = LRLog(), LRLog(), LRLog()
    build(tmp_path / "whole", [FixPredictorLRHook(), whole], epochs=20).train()
    build(tmp_path / "cut", [FixPredictorLRHook(), first], epochs=20, max_epochs=10).train()
    build(tmp_path / "cut", [FixPredictorLRHook(), second], epochs=20, resume=True).train()
    assert len(second.rates) == 10
    np.testing.assert_allclose(first.rates + second.rates, whole.rates, rtol=0, atol=1e-12)


def test_untagged_predictor_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no parameter group has fix_lr=True; set .*custom_keys"):
        build(tmp_path, [FixPredictorLRHook()], epochs=1, tag=False).train()
