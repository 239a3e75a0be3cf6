"""Runs of anomaly detectors: two optimizers through a resume, masks watched, fitting in one pass, a NaN."""

import csv
import uuid
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from torch import nn

from medkit.apis.config import load_config
from medkit.engine import PartsOptimWrapperConstructor, read_checkpoint
from medkit.engine.anomaly_hooks import mask_fault
from medkit.errors import ConfigError, TrainingError
from medkit.models.anomaly import AnomalyModel, HealthyGAN
from medkit.registry import MODELS

REPO = Path(__file__).resolve().parents[2]
SMALL = dict(width=4, num_blocks=1, num_layers=2)


@DATASETS.register_module()
class ToyPairs(torch.utils.data.Dataset):
    """Twelve pairs of 16-pixel noise images, each drawn anew: what a resume must repeat."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
        return dict(inputs=dict(mixed=images[0], healthy=images[1]))


@HOOKS.register_module()
class SpoilAt(Hook):
    """Makes the discriminator's last layer NaN before an iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            nn.init.constant_(runner.model.discriminator.conv1.weight, float("nan"))


@HOOKS.register_module()
class OnesEverywhere(Hook):
    """Makes every mask one."""

    def before_train(self, runner) -> None:
        def ones(module, inputs, logits):
            return logits[0], logits[1] * 0 + 2 + runner.iter  # other numbers each time, one warning

        runner.model.generator.register_forward_hook(ones)


@MODELS.register_module(force=True)
class MeanImage(AnomalyModel):
    """Fitted in one pass: the mean of the healthy images."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(3, 16, 16))
        self.seen: list[torch.Tensor] = []

    def collect(self, images: torch.Tensor) -> None:
        self.seen.append(images)

    def finish_fit(self) -> None:
        self.mean = torch.cat(self.seen).mean(dim=0)

    def score(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = (images - self.mean).abs().mean(dim=1)
        return maps, maps.amax(dim=(1, 2))


def config(work_dir: Path, *, amp: bool = False, hooks: tuple = (), **options) -> Config:
    """HealthyGAN of a few hundred weights on `ToyPairs`, from the shipped fragments."""
    text = f"_base_ = ['{REPO}/configs/_base_/models/healthygan.py', '{REPO}/configs/_base_/runtime_anomaly.py']\n"
    text += (
        "train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(type='mmengine.ToyPairs'),"
        " sampler=dict(type='mmengine.InfiniteSampler', shuffle=True))\n"
    )
    work_dir.mkdir(exist_ok=True)
    file = work_dir / "toy.py"
    file.write_text(text)
    settings = dict(max_iters=8, checkpoint_interval=4, log_interval=2, picture_interval=4, lr=0.01, linear_decay=True)
    cfg = load_config(file, work_dir=work_dir, cfg_options={**settings, **SMALL, **options}, amp=amp)
    cfg.experiment_name = f"toy_{uuid.uuid4().hex}"
    cfg.custom_hooks += list(hooks)
    return cfg


def train(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def rows(work_dir: Path) -> list[dict[str, str]]:
    with (work_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def equal(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path: Path, amp: bool) -> None:
    """Weights, both optimizers, both schedules, the two-to-one rhythm and the table; from an odd iteration."""
    settings = dict(checkpoint_interval=5, max_iters=10)
    train(config(tmp_path / "whole", amp=amp, **settings))
    whole = read_checkpoint(tmp_path / "whole/iter_10.pth")
    cfg = config(tmp_path / "again", amp=amp, **settings)
    (tmp_path / "again/metrics.csv").write_bytes((tmp_path / "whole/metrics.csv").read_bytes())  # killed after the 10th
    cfg.resume, cfg.load_from = True, str(tmp_path / "whole/iter_5.pth")
    train(cfg)
    again = read_checkpoint(tmp_path / "again/iter_10.pth")
    for name in ("state_dict", "optimizer", "param_schedulers"):
        assert equal(whole[name], again[name]), name
    assert set(whole["optimizer"]) == {"generator", "discriminator"}
    assert int(whole["state_dict"]["steps"]) == 10
    ours, theirs = rows(tmp_path / "again"), rows(tmp_path / "whole")
    assert [row["iter"] for row in ours] == ["2", "4", "6", "8", "10"]
    assert ours[3:] == theirs[3:]  # the row of iteration 6 begins at 5 in the resumed run


def test_lr_falls_to_zero_for_both_optimizers(tmp_path: Path) -> None:
    runner = train(config(tmp_path, max_iters=8))
    rates = [float(row["lr"]) for row in rows(tmp_path)]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005])  # of iterations 2, 4, 6 and 8: seven done, of eight
    assert all(group[0]["lr"] == pytest.approx(0.005) for group in runner.optim_wrapper.param_groups.values())


def test_log_table_and_pictures_hold_the_masks(tmp_path: Path) -> None:
    runner = train(config(tmp_path))
    last = rows(tmp_path)[-1]
    for name in ("mixed", "healthy"):
        low, mean, high = (float(last[f"anomaly/mask_{name}_{what}"]) for what in ("min", "mean", "max"))
        assert 0 <= low < mean < high <= 1
    assert all(row["g_loss"] and row["d_loss_gp"] for row in rows(tmp_path))
    assert float(last["epoch"]) == pytest.approx(8 / 3, abs=1e-3)  # passes over 12 images, 4 per step
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == ["iter_000004.jpg", "iter_000008.jpg"]
    assert cv2.imread(str(tmp_path / "pictures/iter_000008.jpg")).shape == (18 + 6 * 96, 4 * 96, 3)
    assert "mask_mixed_mean" in (tmp_path / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert (tmp_path / "results.png").is_file()


@pytest.mark.parametrize(
    ("mixed", "healthy", "said"),
    [
        ((0.99, 0.9, 1.0), (0.98, 0.9, 1.0), "ones nearly everywhere .*weights.size .*weights.rec"),
        ((0.001, 0.0, 0.02), (0.001, 0.0, 0.02), "zeros everywhere .*weights.focus"),
        ((0.5, 0.48, 0.53), (0.5, 0.48, 0.53), "one half .*weights.binary"),
    ],
)
def test_saturated_masks_name_the_weight(mixed, healthy, said: str) -> None:
    import re

    assert re.search(said, mask_fault(dict(mixed=mixed, healthy=healthy)) or "")


def test_masks_that_work_are_not_warned_about() -> None:
    assert mask_fault(dict(mixed=(0.2, 0.0, 1.0), healthy=(0.01, 0.0, 0.9))) is None


def test_warning_comes_once(tmp_path: Path) -> None:
    """The generator's last layer gives 20 as the logit of every mask."""
    runner = train(config(tmp_path, hooks=(dict(type="mmengine.OnesEverywhere"),), picture_interval=0))
    log = (tmp_path / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert log.count("The masks are ones nearly everywhere") == 1
    assert not (tmp_path / "pictures").exists()


def test_nan_stops_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    cfg = config(tmp_path, hooks=(dict(type="mmengine.SpoilAt", at=5),))
    with pytest.raises(TrainingError, match=r"d_loss_real is nan.* in iteration 6 .*iter_4.pth"):
        train(cfg)
    assert [file.name for file in tmp_path.glob("*.pth")] == ["iter_4.pth"]
    assert all(value.isfinite().all() for value in read_checkpoint(tmp_path)["state_dict"].values())


def test_method_of_one_pass_is_fitted_before_it_is_saved(tmp_path: Path) -> None:
    cfg = config(tmp_path, max_iters=3)
    cfg.model = dict(type="medkit.MeanImage")
    cfg.optim_wrapper = dict(type="mmengine.OptimWrapper", optimizer=dict(type="mmengine.SGD", lr=0.0))
    cfg.param_scheduler = None
    cfg.custom_hooks = [dict(type="medkit.IterSeedHook"), dict(type="medkit.FitHook")]
    runner = train(cfg)
    assert len(runner.model.seen) == 3
    mean = read_checkpoint(tmp_path)["state_dict"]["mean"]
    assert torch.equal(mean, torch.cat(runner.model.seen).mean(dim=0)) and mean.abs().sum() > 0


def test_mask_monitor_refuses_a_model_without_masks(tmp_path: Path) -> None:
    cfg = config(tmp_path, max_iters=1)
    cfg.model = dict(type="medkit.MeanImage")
    cfg.optim_wrapper = dict(type="mmengine.OptimWrapper", optimizer=dict(type="mmengine.SGD", lr=0.0))
    cfg.update(param_scheduler=None, custom_hooks=[dict(type="medkit.MaskMonitorHook")])
    with pytest.raises(ConfigError, match="MaskMonitorHook: MeanImage has no mask_stats"):
        train(cfg)


def constructor(parts: dict, **common) -> PartsOptimWrapperConstructor:
    adam = dict(type="mmengine.Adam", lr=0.1)
    return PartsOptimWrapperConstructor(
        dict(parts={name: dict(optimizer=adam, **part) for name, part in parts.items()}, **common)
    )


def test_parts_get_their_own_optimizer_and_wrapper() -> None:
    model = HealthyGAN(generator=dict(width=4, num_blocks=1), discriminator=dict(width=4, num_layers=2))
    built = constructor(dict(generator={}, discriminator={}), type="medkit.Bf16OptimWrapper")(model)
    assert isinstance(built, OptimWrapperDict)
    for name, wrapper in built.items():
        assert type(wrapper).__name__ == "Bf16OptimWrapper"
        ids = {id(param) for group in wrapper.param_groups for param in group["params"]}
        assert ids == {id(param) for param in getattr(model, name).parameters()}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (dict(generator={}), "discriminator.main.0.weight is in no part"),
        (dict(critic={}), "parts.critic: .*HealthyGAN has .*'generator'.* set `modules`"),
        (
            dict(discriminator={}, generator=dict(modules=["generator", "discriminator"])),
            "discriminator.main.0.weight is in more than one part",
        ),
        ({}, "give parts="),
    ],
    ids=["missing", "unknown", "twice", "none"],
)
def test_parts_that_do_not_fit_are_refused(parts: dict, said: str) -> None:
    model = HealthyGAN(generator=dict(width=4, num_blocks=1), discriminator=dict(width=4, num_layers=2))
    with pytest.raises(ConfigError, match=said):
        constructor(parts)(model)
