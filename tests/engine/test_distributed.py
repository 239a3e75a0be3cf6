"""Unfreezing with two gloo processes through dist_train.sh, and DDP's settings in one process."""

import socket

import pytest
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS

from medkit.errors import ConfigError
from tests.engine.test_unfreeze import HOOK, ORDER, assert_schedule
from tests.engine.toy import REPO, RESNET, moved, run_tool, toy_config, train, write_config


def train_on_two_processes(folder, **kwargs):
    """Returns the weights of both ranks before each epoch and at the end."""
    config = write_config(folder, find_unused_parameters=True, **kwargs)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    run_tool("bash", REPO / "tools/dist_train.sh", config, 2, "--work-dir", folder, MASTER_PORT=port)
    return [torch.load(folder / f"states_rank{rank}.pt") for rank in (0, 1)]


def weights(state, part=""):
    return {
        n: v for n, v in state.items() if n.startswith(part) and "running" not in n and "num_batches" not in n
    }


def equal(a, b, part=""):
    a, b = weights(a, part), weights(b, part)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_released_stages_move_and_stay_equal_on_all_ranks(tmp_path):
    first, second = train_on_two_processes(tmp_path, hooks=[HOOK])
    assert_schedule(first, [1, 2, 3, 4])
    for epoch, (a, b) in enumerate(zip(first, second, strict=True)):
        assert equal(a, b), epoch
    # the ranks saw different images: their own batch-norm statistics differ from the release of layer4 on
    running = "backbone.layer4.0.bn1.running_mean"
    assert torch.equal(first[1][running], second[1][running])
    assert not torch.equal(first[2][running], second[2][running])


def test_documented_recipe_of_mmdet_fails_the_same_test(tmp_path):
    """Epoch 2 unfreezes as mmdet's how-to page says: nothing moves. Epoch 3 also resets ``frozen_stages``,
    and each rank trains the stages on its own."""
    first, second = train_on_two_processes(
        tmp_path,
        max_epochs=3,
        model={"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": 4}},
        hooks=[{"type": "DocumentedUnfreeze", "epoch": 1, "reset_from": 2}],
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
    )
    with pytest.raises(AssertionError):
        assert_schedule(first, [1], [[part for group in ORDER for part in group]])
    assert not moved(first[0], first[2], "backbone")[0]
    assert equal(first[2], second[2])
    assert moved(first[2], first[3], "backbone.layer4")[0]
    assert not equal(first[3], second[3], "backbone.layer4")


@pytest.fixture
def one_process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def wrapped(frozen_stages=-1, **ddp):
    model = MODELS.build({"type": "ToyDetector", "backbone": {**RESNET, "frozen_stages": frozen_stages}})
    return MMDistributedDataParallel(model, **ddp)


def train_wrapped(tmp_path, model, hook=HOOK, max_epochs=5):
    cfg = toy_config(tmp_path, max_epochs=max_epochs, hooks=[hook])
    cfg.model = {"type": "ToyDetector"}
    cfg.optim_wrapper.constructor = "medkit.FreezeAwareOptimWrapperConstructor"
    return train(cfg, model=model)[1].states


@pytest.mark.usefixtures("one_process_group")
@pytest.mark.parametrize(
    ("frozen_stages", "ddp", "message"),
    [
        (-1, {}, "needs the line `find_unused_parameters = True`"),
        (-1, {"find_unused_parameters": True, "static_graph": True}, "static_graph"),
        (1, {"find_unused_parameters": True}, r"before DDP wrapped.*model.backbone.frozen_stages=-1"),
    ],
)
@pytest.mark.filterwarnings("ignore:You passed find_unused_parameters=true")
def test_settings_that_would_part_the_ranks_are_refused(tmp_path, frozen_stages, ddp, message):
    with pytest.raises(ConfigError, match=message):
        train_wrapped(tmp_path, wrapped(frozen_stages, **ddp))


@pytest.mark.usefixtures("one_process_group")
@pytest.mark.filterwarnings("ignore:`broadcast_buffers`")
@pytest.mark.parametrize("view", [False, True])
def test_frozen_stages_stand_still_under_ddp(tmp_path, view):
    """AdamW with weight decay moves whatever has a gradient, even zero; with and without bucket views."""
    model = wrapped(find_unused_parameters=True, gradient_as_bucket_view=view, broadcast_buffers=view)
    assert_schedule(train_wrapped(tmp_path, model), [1, 2, 3, 4])


@pytest.mark.usefixtures("one_process_group")
def test_fix_and_flex_need_no_search_for_unused_parameters_when_built_accordingly(tmp_path):
    states = train_wrapped(tmp_path / "fix", wrapped(frozen_stages=4), {**HOOK, "mode": "fix"}, 1)
    assert not moved(states[0], states[-1], "backbone")[0]
    states = train_wrapped(tmp_path / "flex", wrapped(), {**HOOK, "mode": "flex"}, 1)
    assert moved(states[0], states[-1], "backbone")[1]
