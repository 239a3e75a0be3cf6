"""Learning rate and momentum of SSiT equal the official ones at every iteration, also in a resumed run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

from medkit.engine import CosineValueHook
from medkit.engine.ssit_schedule import half_cosine, warmup_cosine
from medkit.errors import ConfigError


class Average(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(2, 2)
        self.momentum = 0.5

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> dict:
        return dict(loss=self.encoder(inputs).square().mean())


class Log(Hook):
    """Records (lr, momentum) that a step really used."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.values: list[tuple[float, float]] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        self.values.append((runner.optim_wrapper.param_groups[0]["lr"], runner.model.momentum))


def run(work_dir: Path, log: Log, epochs: int, max_epochs: int | None = None, warmup: float = 2, **options) -> Runner:
    """Batch 512 and lr 1e-3; two iterations per epoch. ``max_epochs`` stops earlier than the schedule says."""

    class StopEarly(Hook):
        def after_train_epoch(self, runner: Runner) -> None:
            runner.train_loop.stop_training |= runner.epoch + 1 == max_epochs

    schedule = dict(
        type="medkit.WarmupCosineLR", warmup=warmup, end=epochs, by_epoch=True, convert_to_iter_based=True
    )
    hook = options.pop("hook", CosineValueHook("momentum", 0.99, 1.0))
    runner = Runner(
        Average(),
        str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=[dict(inputs=torch.zeros(2)) for _ in range(4)],
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=ConfigDict(type="AdamW", lr=1e-3, weight_decay=0.1)),
        param_scheduler=schedule,
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=5) if max_epochs or "resume" in options else None,
            logger=None,
            timer=None,
        ),
        custom_hooks=[hook, log, StopEarly()],
        experiment_name=f"{work_dir.name}_{id(log)}",
        log_level="ERROR",
        **options,
    )
    runner.train()
    return runner


def test_formulas_equal_official(golden_dir: Path) -> None:
    with np.load(golden_dir / "ssit_schedules.npz") as golden:
        for i, epoch in enumerate(golden["epoch"]):
            assert 1e-3 * warmup_cosine(epoch, 40, 300) == pytest.approx(golden["lr"][i], rel=0, abs=1e-9)
            assert half_cosine(epoch / 300, 0.99, 1) == pytest.approx(golden["moco_m"][i], rel=0, abs=1e-9)
            decay = golden["ss_weight_with_decay"][i]
            assert half_cosine(epoch / 300, 10, 0) == pytest.approx(decay, rel=0, abs=1e-9)


def test_every_step_of_a_run_equals_official(golden_dir: Path, tmp_path: Path) -> None:
    log = Log()
    run(tmp_path, log, epochs=300, warmup=40)
    values = np.array(log.values)  # (600, 2), epochs 0, 0.5, 1, ...
    assert len(values) == 600 and values[0].tolist() == [0, 0.99]
    with np.load(golden_dir / "ssit_schedules.npz") as golden:
        at = [i for i, epoch in enumerate(golden["epoch"]) if epoch < 300 and (2 * epoch).is_integer()]
        assert len(at) == 8
        steps = (2 * golden["epoch"][at]).astype(int)
        np.testing.assert_allclose(values[steps, 0], golden["lr"][at], rtol=0, atol=1e-9)
        np.testing.assert_allclose(values[steps, 1], golden["moco_m"][at], rtol=0, atol=1e-9)


def test_resumed_run_has_the_same_values(tmp_path: Path) -> None:
    whole, first, second = Log(), Log(), Log()
    run(tmp_path / "whole", whole, epochs=12)
    run(tmp_path / "cut", first, epochs=12, max_epochs=5)
    run(tmp_path / "cut", second, epochs=12, resume=True)
    assert len(first.values) == 10 and len(second.values) == 14
    np.testing.assert_allclose(first.values + second.values, whole.values, rtol=0, atol=1e-15)


def test_scaled_lr_is_what_the_warm_up_reaches(tmp_path: Path) -> None:
    log = Log()
    run(tmp_path, log, epochs=4, auto_scale_lr=dict(enable=True, base_batch_size=1))
    assert max(lr for lr, _ in log.values) == pytest.approx(2e-3)


@pytest.mark.parametrize("warmup", [-1, 4, 9])
def test_warm_up_longer_than_the_run_is_named(warmup: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"warmup={2 * warmup}, end=8"):
        run(tmp_path, Log(), epochs=4, warmup=warmup)


@pytest.mark.parametrize(
    "attribute, message",
    [
        ("momentun", "Average.momentun is None, expected a number"),
        ("encoder.weight", "expected a number"),
        ("head.weight", "attribute='head.weight'.*has no attribute"),
    ],
)
def test_unknown_number_is_named(attribute: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        run(tmp_path, Log(), epochs=4, hook=CosineValueHook(attribute))
