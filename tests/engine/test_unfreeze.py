"""`StepwiseUnfreezeHook` with the real mmdet ResNet in mmengine's Runner, in one process."""

import copy
from itertools import pairwise

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from medkit.engine import StepwiseUnfreezeHook
from medkit.engine.unfreeze import equal_schedule
from medkit.errors import ConfigError
from tests.engine.toy import RESNET, moved, toy_config, train

ORDER = [
    ["backbone.layer4"],
    ["backbone.layer3"],
    ["backbone.layer2"],
    ["backbone.layer1", "backbone.bn1", "backbone.conv1"],
]
HOOK = {"type": "medkit.StepwiseUnfreezeHook"}


def assert_schedule(states, schedule, order=ORDER):
    """Each group stands still to the bit, with its statistics, before its epoch and moves after it."""
    assert all(moved(a, b, "head")[1] for a, b in pairwise(states))
    for group, release in zip(order, schedule, strict=True):
        for part in group:
            changes = [moved(a, b, part) for a, b in pairwise(states)]
            assert changes[:release] == [(False, False)] * release, part
            assert changes[release:] == [(True, True)] * (len(changes) - release), part


@pytest.mark.parametrize(
    "optimizer",
    [
        {"type": "AdamW", "lr": 0.01, "weight_decay": 0.5},
        {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.5, "nesterov": True},
    ],
    ids=lambda o: o["type"],
)
def test_stages_move_from_their_epoch_on(tmp_path, optimizer):
    optim_wrapper = {
        "optimizer": optimizer,
        "paramwise_cfg": {"norm_decay_mult": 0.5, "custom_keys": {"layer3": {"lr_mult": 0.1}}},
        "clip_grad": {"max_norm": 1.0},
        "accumulative_counts": 2,
    }
    runner, record = train(toy_config(tmp_path, hooks=[HOOK], optim_wrapper=optim_wrapper))
    assert_schedule(record.states, [1, 2, 3, 4])
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "epoch 2: layer4 released, 131,712 parameters, lr 0.01" in log
    assert "epoch 3: layer3 released, 33,088 parameters, lr 0.001" in log
    assert "epoch 5: layer1, bn1, conv1 released" in log
    assert runner.model.backbone.frozen_stages == -1


def test_validation_between_epochs_does_not_wake_frozen_statistics(tmp_path):
    val = {
        "dataset": {"type": "ToyImages"},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "batch_size": 16,
    }
    _, record = train(
        toy_config(
            tmp_path,
            hooks=[{**HOOK, "schedule": [1, 3], "stages": [["layer4"], ["layer2"]]}],
            val_dataloader=val,
            val_cfg={},
            val_evaluator={"type": "ToyMetric"},
        )
    )
    never = [["backbone.layer3", "backbone.layer1", "backbone.conv1"]]
    assert_schedule(record.states, [1, 3, 5], [["backbone.layer4"], ["backbone.layer2"], *never])
    assert record.modes[2]["backbone.layer4.0.bn1"] and record.modes[2]["backbone"]
    assert not record.modes[2]["backbone.layer2.0.bn1"] and not record.modes[2]["backbone.layer3"]


def test_the_optimizer_skips_frozen_parameters_and_starts_released_ones_afresh(tmp_path):
    _, record = train(toy_config(tmp_path, max_epochs=5, hooks=[HOOK]))
    for stepped, released in ((record.optimized[0], "none"), (record.optimized[1], "backbone.layer4")):
        assert all(has == n.startswith((released, "head")) for n, has in stepped.items())


@pytest.mark.parametrize(("mode", "still"), [("fix", 2), ("flex", 0)])
def test_fix_and_flex(tmp_path, mode, still):
    _, record = train(toy_config(tmp_path, max_epochs=2, hooks=[{**HOOK, "mode": mode}]))
    assert_schedule(record.states, [still], [[part for group in ORDER for part in group]])


def test_norm_eval_of_the_backbone_is_kept(tmp_path):
    model = {"type": "ToyDetector", "backbone": {**RESNET, "norm_eval": True}}
    _, record = train(toy_config(tmp_path, max_epochs=2, model=model, hooks=[{**HOOK, "mode": "flex"}]))
    assert not any(on for name, on in record.modes[1].items() if name.endswith(("bn1", "bn2")))


def test_takes_over_a_backbone_built_frozen(tmp_path):
    """frozen_stages=4 with paramwise_cfg: the constructor keeps the parameters, the hook releases them."""
    model = {"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": 4}}
    cfg = toy_config(tmp_path, model=model, hooks=[HOOK])
    cfg.optim_wrapper.constructor = "medkit.FreezeAwareOptimWrapperConstructor"
    assert_schedule(train(cfg)[1].states, [1, 2, 3, 4])


def test_parameters_missing_from_the_optimizer_are_refused(tmp_path):
    model = {"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": 1}}
    with pytest.raises(ConfigError, match=r"15 parameters .*conv1.*FreezeAwareOptimWrapperConstructor"):
        train(toy_config(tmp_path, model=model, hooks=[HOOK]))


def test_norms_that_the_model_never_trains_stay_frozen(tmp_path):
    norm_cfg = {"type": "BN", "requires_grad": False}
    model = {"type": "ToyDetector", "backbone": {**RESNET, "norm_cfg": norm_cfg, "norm_eval": True}}
    _, record = train(toy_config(tmp_path, max_epochs=2, model=model, hooks=[{**HOOK, "mode": "flex"}]))
    assert not moved(record.states[0], record.states[-1], "backbone.bn1.weight")[0]
    assert moved(record.states[0], record.states[-1], "backbone.conv1")[1]


def test_averaged_weights_of_frozen_stages_equal_the_weights(tmp_path):
    runner, record = train(
        toy_config(
            tmp_path, max_epochs=2, hooks=[{**HOOK, "mode": "fix"}, {"type": "EMAHook", "momentum": 0.1}]
        )
    )
    averaged = next(h for h in runner.hooks if isinstance(h, EMAHook)).ema_model.module.state_dict()
    for name, value in record.states[0].items():
        assert torch.equal(averaged[name], value) == name.startswith("backbone"), name


def test_gradients_of_the_head_are_those_of_an_unfrozen_run(tmp_path):
    """Clipping sees the same norm whether frozen parameters are in the optimizer or not."""
    optim = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 0.01}}
    _, with_hook = train(toy_config(tmp_path / "a", 1, hooks=[{**HOOK, "mode": "fix"}], optim_wrapper=optim))
    frozen = {"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": 4}}
    _, built_frozen = train(toy_config(tmp_path / "b", 1, model=frozen, optim_wrapper=optim))
    for name, value in with_hook.states[-1].items():
        assert torch.equal(value, built_frozen.states[-1][name]), name


def test_bfloat16_wrapper(tmp_path):
    optim = {"type": "medkit.Bf16OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}}
    _, record = train(toy_config(tmp_path, hooks=[HOOK], optim_wrapper=optim))
    assert_schedule(record.states, [1, 2, 3, 4])


@MODELS.register_module()
class ToyPatches(torch.nn.Module):
    """A backbone that is no ResNet: parameters of its own, dropout, a list of blocks."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Conv2d(3, 64, 8, 8)
        self.pos = torch.nn.Parameter(torch.zeros(64, 4, 4))
        self.drop = torch.nn.Dropout(0.1)
        self.blocks = torch.nn.ModuleList(torch.nn.Conv2d(64, 64, 1) for _ in range(3))

    def forward(self, x):
        x = self.drop(self.embed(x) + self.pos)
        for block in self.blocks:
            x = x + block(x).relu()
        return (x,)


def test_another_backbone_with_dotted_names_and_bare_parameters(tmp_path):
    stages = [["blocks.2"], ["blocks.1", "blocks.0"], ["embed", "pos"]]
    cfg = toy_config(
        tmp_path,
        4,
        model={"type": "ToyDetector", "backbone": {"type": "ToyPatches"}},
        hooks=[{**HOOK, "stages": stages}],
    )
    _, record = train(cfg)
    assert_schedule(record.states, [1, 2, 3], [[f"backbone.{name}" for name in group] for group in stages])
    assert not record.modes[2]["backbone.drop"] and record.modes[3]["backbone.drop"]


def test_a_resumed_run_is_in_the_state_of_its_epoch(tmp_path):
    save = {"checkpoint": {"type": "CheckpointHook", "interval": 1}}
    whole = toy_config(tmp_path, hooks=[HOOK, {"type": "medkit.EpochSeedHook"}], default_hooks=save)
    _, uninterrupted = train(copy.deepcopy(whole))
    resumed = copy.deepcopy(whole)
    resumed.update(
        load_from=str(tmp_path / "epoch_3.pth"), resume=True, experiment_name=f"resumed_{tmp_path}"
    )
    _, record = train(resumed)
    assert_schedule([uninterrupted.states[3], *record.states[1:]], [0, 0, 0, 1])
    for name, value in record.states[-1].items():
        assert torch.equal(value, uninterrupted.states[-1][name]), name
    assert "epoch 4: layer4 trains since epoch 2" in max(tmp_path.glob("*/*.log")).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "slow"}, "mode='slow'.*stepwise, fix, flex"),
        ({"schedule": [1, 2, 3]}, "3 epochs for 4 groups"),
        ({"schedule": [1, 2, 2, 3]}, "increasing whole numbers"),
        ({"schedule": [3, 2, 1, 0]}, "increasing whole numbers"),
        ({"schedule": [-1, 2, 3, 4]}, "increasing whole numbers"),
        ({"schedule": [0.5, 2, 3, 4]}, "increasing whole numbers"),
        ({"mode": "fix", "schedule": [1, 2, 3, 4]}, "mode='fix' releases nothing"),
        ({"stages": ["layer4", "layer3"]}, "list of groups"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        StepwiseUnfreezeHook(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": [1, 2, 3, 5]}, r"never release layer1, bn1, conv1 in max_epochs=5"),
        ({"stages": [["layer5"]]}, r"ResNet has no stage 'layer5'.*conv1, bn1.*layer4"),
        ({"stages": [["layer4"], ["layer4.0"]]}, r"layer4.0 shares parameters"),
        ({"stages": [["relu"]]}, r"releasing relu would train nothing"),
        ({"backbone": "encoder"}, r"no module 'encoder'.*backbone, head"),
    ],
)
def test_settings_that_do_not_fit_the_model_or_the_loop(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        train(toy_config(tmp_path, hooks=[{**HOOK, **arguments}]))


def test_iterations_instead_of_epochs(tmp_path):
    loop = {"type": "IterBasedTrainLoop", "max_iters": 2}
    with pytest.raises(ConfigError, match="EpochBasedTrainLoop"):
        train(toy_config(tmp_path / "a", hooks=[HOOK], train_cfg=loop))
    _, record = train(toy_config(tmp_path / "b", hooks=[{**HOOK, "mode": "fix"}], train_cfg=loop))
    assert not moved(record.states[0], record.states[-1], "backbone")[0]


def test_equal_schedule():
    assert equal_schedule(300, 4) == [60, 120, 180, 240]
    assert equal_schedule(2, 4) == [0, 0, 1, 1]
    for max_epochs in range(1, 40):
        assert all(0 <= epoch < max_epochs for epoch in equal_schedule(max_epochs, 4))


def test_few_epochs_release_stages_together(tmp_path):
    _, record = train(toy_config(tmp_path, max_epochs=2, hooks=[HOOK]))
    assert_schedule(record.states, [0, 0, 1, 1])
    assert "fewer than the 5 phases" in next(tmp_path.glob("*/*.log")).read_text()


def test_constructor_keeps_frozen_parameters_with_their_own_lr():
    model = MODELS.build({"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": 4}})
    cfg = {
        "optim_wrapper_cfg": {"optimizer": {"type": "SGD", "lr": 1.0, "weight_decay": 0.1}},
        "paramwise_cfg": {"custom_keys": {"backbone.layer1": {"lr_mult": 0.1, "decay_mult": 0.0}}},
    }
    build = OPTIM_WRAPPER_CONSTRUCTORS.build
    default = build({"type": "DefaultOptimWrapperConstructor", **copy.deepcopy(cfg)})(model)
    ours = build({"type": "medkit.FreezeAwareOptimWrapperConstructor", **copy.deepcopy(cfg)})(model)
    held = {p: group for group in ours.optimizer.param_groups for p in group["params"]}
    assert len(default.optimizer.param_groups) == 2 and len(held) == len(list(model.parameters()))
    layer1, layer2 = model.backbone.layer1[0].conv1.weight, model.backbone.layer2[0].conv1.weight
    assert (held[layer1]["lr"], held[layer1]["weight_decay"]) == (0.1, 0.0)
    assert (held[layer2]["lr"], held[layer2]["weight_decay"]) == (1.0, 0.1)
    assert not layer1.requires_grad and model.head.weight.requires_grad


def test_documented_recipe_of_mmdet_trains_nothing(tmp_path):
    """The reason for the hook: requires_grad set in before_train_epoch is undone by ResNet.train()."""
    model = {"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": 4}}
    cfg = toy_config(tmp_path, max_epochs=2, model=model, hooks=[{"type": "DocumentedUnfreeze", "epoch": 1}])
    _, record = train(cfg)
    assert not moved(record.states[0], record.states[-1], "backbone")[0]
