"""The monitor tells a network that has collapsed from one that learns, by p where z does not show it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.models.heads import LatentPredictHead
from mmpretrain.models.necks import NonLinearNeck
from torch import Tensor

from medkit.engine import CollapseMonitorHook, output_spread
from medkit.errors import ConfigError

DIM = 64


class Vectors(torch.utils.data.Dataset):
    """Random points; a sample is two views of one point, ``noise`` apart."""

    def __init__(self, noise: float, num: int = 512) -> None:
        generator = torch.Generator().manual_seed(0)
        points = torch.randn(num, 1, 16, generator=generator)
        self.views = points + noise * torch.randn(num, 2, 16, generator=generator)  # (N, 2, 16)

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> dict:
        return dict(views=self.views[index])


class TinySiamese(BaseModel):
    """SimSiam on vectors; without ``stop_gradient`` it collapses, as section 4.1 of the paper shows."""

    def __init__(self, stop_gradient: bool) -> None:
        super().__init__()
        self.stop_gradient = stop_gradient
        norm = dict(norm_cfg=dict(type="BN1d"), with_avg_pool=False)
        self.backbone = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU())
        self.neck = NonLinearNeck(64, 64, DIM, 3, with_last_bn_affine=False, **norm)
        predictor = dict(type="mmpretrain.NonLinearNeck", in_channels=DIM, hid_channels=16, out_channels=DIM)
        predictor |= dict(with_last_bn=False, with_last_bias=True, **norm)
        self.head = LatentPredictHead(dict(type="mmpretrain.CosineSimilarityLoss"), predictor)

    def forward(self, views: Tensor, mode: str = "loss") -> dict:
        z = [self.neck((self.backbone(views[:, i]),))[0] for i in (0, 1)]
        if self.stop_gradient:
            return dict(loss=(self.head.loss(z[0], z[1]) + self.head.loss(z[1], z[0])) / 2)
        p = [self.head.predictor([item])[0] for item in z]
        cosine = torch.cosine_similarity(p[0], z[1]) + torch.cosine_similarity(p[1], z[0])
        return dict(loss=-cosine.mean() / 2)


def run(work_dir: Path, stop_gradient: bool, lr: float, epochs: int, batch_size: int = 64, **hook) -> Runner:
    torch.manual_seed(0)
    runner = Runner(
        TinySiamese(stop_gradient),
        str(work_dir),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            drop_last=True,
            sampler=dict(type="DefaultSampler", shuffle=True),
            dataset=Vectors(0.2 if stop_gradient else 5.0),  # 5: nothing left to match the views by
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=lr, momentum=0.9)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[CollapseMonitorHook(**hook)],
        randomness=dict(seed=0),
        experiment_name=f"{work_dir.name}_{stop_gradient}",
    )
    runner.train()
    return runner


def logged(runner: Runner) -> list[dict]:
    lines = next(Path(runner.work_dir).rglob("scalars.json")).read_text().splitlines()
    return [line for line in map(json.loads, lines) if "selfsup/std_ratio" in line]


def warnings_of(runner: Runner) -> list[str]:
    text = next(Path(runner.work_dir).rglob("*.log")).read_text()
    return [line for line in text.splitlines() if "have collapsed" in line]


def test_spread_of_known_outputs() -> None:
    torch.manual_seed(0)
    std_ratio, rank = output_spread(torch.randn(512, 64))
    assert std_ratio == pytest.approx(1, abs=0.02) and rank > 50
    point = torch.ones(32, 64) + 1e-4 * torch.randn(32, 64)
    assert output_spread(point)[0] < 1e-3
    line = torch.randn(128, 1) * torch.randn(1, 64)  # the projector's batch norm hides this one from the std
    std_ratio, rank = output_spread(line)
    assert std_ratio > 0.7 and rank == pytest.approx(1, abs=1e-3)
    assert output_spread(torch.zeros(8, 64)).tolist() == [0, 0]


def test_spread_ignores_length_and_precision() -> None:
    z = torch.randn(64, 32)
    torch.testing.assert_close(output_spread(z), output_spread(1000 * z))
    torch.testing.assert_close(output_spread(z), output_spread(z.bfloat16()), rtol=0.01, atol=0)


def test_healthy_network_is_left_in_peace(tmp_path: Path) -> None:
    runner = run(tmp_path, stop_gradient=True, lr=0.05, epochs=3)
    lines = logged(runner)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["selfsup/std_ratio"] > 0.9 and line["selfsup/std_ratio_p"] > 0.5 for line in lines)
    assert all(line["selfsup/rank"] > 2 for line in lines)
    assert not warnings_of(runner)


def test_collapsed_network_is_named(tmp_path: Path) -> None:
    runner = run(tmp_path, stop_gradient=False, lr=0.2, epochs=12)
    last = logged(runner)[-1]
    assert last["loss"] < -0.7  # the loss looks like success
    assert last["selfsup/std_ratio_p"] < 0.3 < last["selfsup/std_ratio"]  # z alone would not have told
    assert warnings_of(runner)
    assert "lower lr (it began at 0.2), weaker augmentation" in warnings_of(runner)[-1]


def test_constant_network_is_named_at_once(tmp_path: Path) -> None:
    runner = run(tmp_path, True, lr=0.05, epochs=1, outputs=dict(z="backbone"), warn_below=0.99)
    assert len(warnings_of(runner)) == 1


def test_interval_in_iterations_and_removed_listeners(tmp_path: Path) -> None:
    runner = run(tmp_path, True, lr=0.05, epochs=1, interval=3, num_batches=2)
    history, _ = runner.message_hub.get_scalar("train/selfsup/std_ratio").data
    assert len(history) == 2  # of 8 iterations: after the third and the sixth
    assert not runner.model.neck._forward_hooks


def test_tiny_batches_are_not_judged(tmp_path: Path) -> None:
    assert not warnings_of(run(tmp_path, True, lr=0.05, epochs=1, batch_size=2, warn_below=0.99))


def test_outputs_in_eval_mode_do_not_count() -> None:
    hook = CollapseMonitorHook()
    record = hook._recorder("z")
    module = torch.nn.Identity()
    record(module.eval(), (), torch.randn(8, 4))
    assert not hook._spreads["z"]
    record(module.train(), (), (torch.randn(8, 4),))
    assert len(hook._spreads["z"]) == 1


@pytest.mark.parametrize("shape", [(8, 5, 4), (8, 4, 3, 3)], ids=["tokens", "map"])
def test_positions_are_averaged(shape: tuple[int, ...]) -> None:
    output, hook = torch.randn(shape), CollapseMonitorHook()
    hook._recorder("z")(torch.nn.Identity().train(), (), (output,))
    expected = output.mean(1) if len(shape) == 3 else output.mean((2, 3))
    torch.testing.assert_close(hook._spreads["z"][0], output_spread(expected))


def test_method_without_predictor_is_watched_at_its_projector(tmp_path: Path) -> None:
    hook, model = CollapseMonitorHook(), TinySiamese(True)
    model.head = torch.nn.Identity()
    hook.before_train(SimpleNamespace(model=model))
    assert hook.outputs == {"z": "neck"}


def test_wrong_arguments_are_errors(tmp_path: Path) -> None:
    for arguments in (dict(interval="iter"), dict(interval=0), dict(warn_below=2), dict(num_batches=0)):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            CollapseMonitorHook(**arguments)
    with pytest.raises(ConfigError, match=r"TinySiamese has no module 'projector'; .*'neck'"):
        run(tmp_path, True, lr=0.05, epochs=1, outputs=dict(z="projector"))


def test_ranks_report_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_rank_collapsed(mean: Tensor, op: str) -> None:
        assert op == "mean"
        mean.div_(2)

    monkeypatch.setattr("medkit.engine.collapse.all_reduce", other_rank_collapsed)
    assert logged(run(tmp_path, True, lr=0.05, epochs=1))[0]["selfsup/std_ratio"] == pytest.approx(
        0.5, abs=0.02
    )
