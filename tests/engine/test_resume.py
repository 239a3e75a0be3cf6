"""A run that is killed and resumed ends like the run that was not; a kill leaves whole checkpoints."""

import csv
import json
import random
import signal
import subprocess

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS

from medkit.engine import read_checkpoint, resolve_checkpoint, resume_checkpoint
from medkit.engine.saving import AtomicBackend, is_complete
from medkit.errors import ConfigError, WeightsError
from tests.engine.toy import REPO, command, toy_config, train, write_config

SEED = {"type": "medkit.EpochSeedHook"}


def settings(num_workers=0, epochs=5):
    """Everything that has state: EMA, two schedulers, best score, augmentation noise, stepwise unfreezing."""
    loader = {"sampler": {"type": "DefaultSampler", "shuffle": True}, "batch_size": 4}
    return {
        "max_epochs": epochs,
        "hooks": [
            {"type": "medkit.StepwiseUnfreezeHook"},
            SEED,
            {"type": "EMAHook", "momentum": 0.1},
            {"type": "medkit.RunFolderHook"},
            {"type": "KillAt"},
        ],
        "train_dataloader": {**loader, "dataset": {"type": "ToyImages"}, "num_workers": num_workers},
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1, "fused": True}},
        "val_dataloader": {**loader, "dataset": {"type": "ToyImages", "noise": 0.0}},
        "val_cfg": {},
        "val_evaluator": {"type": "ToyMetric"},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 6},
            {"type": "CosineAnnealingLR", "T_max": epochs, "by_epoch": True},
        ],
        "default_hooks": {
            "checkpoint": {
                "type": "medkit.SafeCheckpointHook",
                "interval": 1,
                "max_keep_ckpts": 2,
                "save_best": "score",
                "rule": "greater",
            }
        },
    }


def assert_equal(a, b, where=""):
    """Nested containers of tensors and numbers, equal to the bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.parametrize(
    ("num_workers", "kill_at"),
    [(0, "train 2 1"), (2, "val 4 2")],
    ids=["in an epoch", "in validation, with workers"],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, num_workers, kill_at):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(toy_config(whole, **settings(num_workers)))

    config = write_config(killed, **settings(num_workers))
    tool = command(REPO / "tools/train.py", config, "--work-dir", killed, KILL_AT=kill_at)
    tool["args"].insert(0, tool["env"]["PYTHON"])
    done = subprocess.run(**tool, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stdout[-4000:]
    last = resume_checkpoint(killed)
    assert last.name == f"epoch_{kill_at.split()[1]}.pth"

    train(toy_config(killed, **settings(num_workers), resume=True, load_from=str(last)))
    ours, theirs = (read_checkpoint(folder) for folder in (killed, whole))
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert_equal(ours[part], theirs[part], part)
    for name in ("best_score", "keep_ckpt_ids"):
        assert ours["message_hub"]["runtime_info"][name] == theirs["message_hub"]["runtime_info"][name]
    assert sorted(p.name for p in killed.glob("*.pth")) == sorted(p.name for p in whole.glob("*.pth"))
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_without_the_hook_a_resumed_run_differs(tmp_path):
    """And mmengine's workers draw the same numbers in every epoch: why the hook exists."""
    plain = settings()
    plain["hooks"].remove(SEED)
    _, uninterrupted = train(toy_config(tmp_path, **plain))
    last = resume_checkpoint(tmp_path).with_name("epoch_4.pth")
    _, resumed = train(toy_config(tmp_path, **plain, resume=True, load_from=str(last)))
    assert not torch.equal(resumed.states[-1]["head.weight"], uninterrupted.states[-1]["head.weight"])


@DATASETS.register_module()
class Draws(torch.utils.data.Dataset):
    """Items carry what the three global generators give."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        drawn = f"{random.random()} {np.random.rand()} {torch.rand(()).item()}"
        return {"inputs": torch.zeros(3, 32, 32), "targets": 0.0, "drawn": drawn}


@HOOKS.register_module()
class KeepDraws(Hook):
    """Collects what the loader's items drew, per epoch."""

    def __init__(self):
        self.epochs = []

    def before_train_epoch(self, runner):
        self.epochs.append([])

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.epochs[-1] += data_batch.pop("drawn")


def draws(tmp_path, num_workers, hooks, seed=7):
    cfg = toy_config(tmp_path, 2, hooks=[*hooks, {"type": "KeepDraws"}], randomness={"seed": seed})
    cfg.train_dataloader.update(dataset={"type": "Draws"}, num_workers=num_workers, batch_size=2)
    runner, _ = train(cfg)
    return next(h for h in runner.hooks if isinstance(h, KeepDraws)).epochs


@pytest.mark.parametrize("num_workers", [0, 2])
def test_draws_depend_on_seed_and_epoch(tmp_path, num_workers):
    first, second = draws(tmp_path / "a", num_workers, [SEED])
    assert len({value for item in first + second for value in item.split()}) == 24  # nothing repeats
    assert draws(tmp_path / "b", num_workers, [SEED]) == [first, second]
    assert draws(tmp_path / "c", num_workers, [SEED], seed=8)[0] != first
    assert draws(tmp_path / "d", num_workers, [{**SEED, "seed": 7}], seed=8)[0] == first


def test_mmengine_alone_repeats_the_workers_draws_in_every_epoch(tmp_path):
    first, second = draws(tmp_path, 2, [])
    assert first == second


def test_persistent_workers_are_refused(tmp_path):
    cfg = toy_config(tmp_path, 1, hooks=[SEED])
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    with pytest.raises(ConfigError, match=r"train_dataloader.persistent_workers=False"):
        train(cfg)


def test_seed_of_a_resumed_run_reaches_the_sampler(tmp_path):
    """Without a seed in the config mmengine draws one, and restores it only after the sampler was built."""
    save = {
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "randomness": {"seed": None},
    }
    whole, _ = train(toy_config(tmp_path, 2, hooks=[SEED], **save))
    again = toy_config(
        tmp_path, 2, hooks=[SEED], **save, resume=True, load_from=str(tmp_path / "epoch_1.pth")
    )
    resumed, _ = train(again)
    assert resumed.train_dataloader.sampler.seed == whole.train_dataloader.sampler.seed == whole.seed


def test_a_cut_off_checkpoint_is_passed_over(tmp_path):
    train(toy_config(tmp_path, **settings(epochs=2)))
    assert resume_checkpoint(tmp_path).name == "epoch_2.pth"
    whole = (tmp_path / "epoch_2.pth").read_bytes()
    (tmp_path / "epoch_2.pth").write_bytes(whole[: len(whole) // 2])
    assert resume_checkpoint(tmp_path).name == "epoch_1.pth"
    with pytest.raises(WeightsError, match="damaged"):
        resume_checkpoint(tmp_path / "epoch_2.pth")
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(tmp_path / "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text("")
    assert resume_checkpoint(tmp_path).name == "epoch_1.pth"
    (tmp_path / "epoch_1.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"all checkpoints in .* are damaged"):
        resume_checkpoint(tmp_path)
    assert resume_checkpoint(tmp_path / "new") is None


def test_writing_is_atomic_and_the_old_checkpoint_goes_last(tmp_path, monkeypatch):
    """The disk fills up while epoch 3 is written: epochs 1 and 2 are there, whole, and no half file."""
    plain, calls = AtomicBackend.put, []

    def full_disk(self, obj, filepath):
        calls.append(filepath)
        if "epoch_3" in str(filepath):
            raise OSError(28, "No space left on device")
        plain(self, obj, filepath)

    monkeypatch.setattr(AtomicBackend, "put", full_disk)
    with pytest.raises(OSError, match="No space"):
        train(toy_config(tmp_path, **settings(epochs=4)))
    assert all(is_complete(tmp_path / f"epoch_{n}.pth") for n in (1, 2))
    assert not (tmp_path / "epoch_3.pth").exists()
    assert resume_checkpoint(tmp_path).name == "epoch_2.pth"


def test_checkpoints_load_without_running_code(tmp_path):
    """torch >= 2.6 reads weights only; what mmengine's checkpoints hold besides is on a list."""
    train(toy_config(tmp_path, **settings(epochs=1)))
    content = read_checkpoint(tmp_path)
    assert {"meta", "state_dict", "message_hub", "optimizer"} <= content.keys()
    train(
        toy_config(tmp_path, **settings(epochs=2), resume=True, load_from=str(resolve_checkpoint(tmp_path)))
    )
    logs = "".join(p.read_text() for p in tmp_path.glob("*/*.log"))
    assert "Could not safely load" not in logs


def test_other_storage_is_refused():
    with pytest.raises(ConfigError, match="local disks"):
        HOOKS.build({"type": "medkit.SafeCheckpointHook", "backend_args": {"backend": "petrel"}})


def test_metrics_table_and_environment(tmp_path):
    train(toy_config(tmp_path, **settings(epochs=2)))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["epoch"], r["split"]) for r in rows] == [
        ("1", "train"),
        ("1", "val"),
        ("2", "train"),
        ("2", "val"),
    ]
    assert list(rows[0])[:4] == ["epoch", "split", "iter", "lr"]
    assert (
        float(rows[0]["loss"]) > 0
        and not rows[0]["score"]
        and float(rows[1]["score"]) < 0
        and not rows[1]["loss"]
    )
    content = json.loads((tmp_path / "environment.json").read_text())
    assert content["seed"] == 7 and content["packages"]["torch"] == torch.__version__.split("+")[0]
    assert {"medkit", "python", "device", "git", "command"} <= content.keys()
    train(toy_config(tmp_path, **settings(epochs=1)))  # a new run in the same folder
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 3
    assert (
        len(list(tmp_path.glob("metrics_before_*.csv")))
        == len(list(tmp_path.glob("environment_before_*.json")))
        == 1
    )
