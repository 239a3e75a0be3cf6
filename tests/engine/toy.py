"""A tiny model round the real mmdet ResNet, and its data; imported by tests and their subprocesses."""

import copy
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

import medkit  # noqa: F401  (first: it makes mmcv.ops importable)

RESNET = {
    "type": "mmdet.ResNet",
    "depth": 18,
    "base_channels": 8,
    "norm_eval": False,
    "out_indices": (3,),
    "frozen_stages": -1,
}


@MODELS.register_module()
class ToyDetector(BaseModel):
    """One prediction per image: the mean of the last feature map through a linear head."""

    def __init__(self, backbone=None, init_cfg=None, data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone or RESNET)
        self.head = nn.Linear(64, 1)

    def forward(self, inputs, targets, mode="tensor"):
        x = torch.stack(inputs) if isinstance(inputs, list) else inputs  # (B, 3, 32, 32)
        out = self.head(self.backbone(x)[-1].mean((2, 3)))[:, 0]  # (B,)
        if mode == "loss":
            return {"loss": ((out - torch.as_tensor(targets)) ** 2).mean()}
        return [{"error": float(e)} for e in (out - torch.as_tensor(targets)) ** 2]


@DATASETS.register_module()
class ToyImages(Dataset):
    """Fixed images plus augmentation noise from NumPy's, Python's and torch's global generators."""

    def __init__(self, length=16, noise=0.5):
        self.length, self.noise = length, noise

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = np.random.RandomState(index).rand(3, 32, 32).astype(np.float32)
        image = image + self.noise * np.random.rand(3, 32, 32).astype(np.float32)
        image = torch.from_numpy(image) + self.noise * torch.rand(3, 32, 32)
        return {"inputs": image.float(), "targets": float(index % 3)}


@METRICS.register_module()
class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {"score": -float(np.mean([r["error"] for r in results]))}


@HOOKS.register_module()
class Snapshots(Hook):
    """Keeps a copy of the weights before each epoch and after the last one."""

    priority = "LOWEST"

    def __init__(self):
        self.states, self.optimized, self.modes = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self.states.append(copy.deepcopy(_inner(runner).state_dict()))
            self.modes.append({name: m.training for name, m in _inner(runner).named_modules()})

    def after_train_epoch(self, runner):
        state = runner.optim_wrapper.optimizer.state  # has an entry for each parameter that was ever stepped
        self.optimized.append({n: p in state for n, p in _inner(runner).named_parameters()})

    def after_train(self, runner):
        self.states.append(copy.deepcopy(_inner(runner).state_dict()))
        torch.save(self.states, Path(runner.work_dir) / f"states_rank{runner.rank}.pt")


@HOOKS.register_module()
class DocumentedUnfreeze(Hook):
    """What mmdet's how-to page tells users to do; ``reset_from`` cures its first defect from then on."""

    def __init__(self, epoch, reset_from=None):
        self.epoch, self.reset_from = epoch, reset_from

    def before_train_epoch(self, runner):
        backbone = _inner(runner).backbone
        if runner.epoch >= self.epoch:
            for param in backbone.parameters():
                param.requires_grad = True
        if self.reset_from is not None and runner.epoch >= self.reset_from:
            backbone.frozen_stages = -1


@HOOKS.register_module()
class KillAt(Hook):
    """Kills the process where the variable KILL_AT says, e.g. ``train 3 1``: epoch 3, iteration 1."""

    priority = "LOWEST"

    def __init__(self):
        where, epoch, index = os.environ.get("KILL_AT", "never 0 0").split()
        self.at = where, int(epoch), int(index)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._kill("train", runner.epoch, batch_idx)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._kill("val", runner.epoch, batch_idx)

    def _kill(self, *at):
        if at == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def _inner(runner):
    return getattr(runner.model, "module", runner.model)


def moved(before, after, part):
    """Whether parameters and batch-norm statistics under ``part`` changed: (any, all)."""
    names = [n for n in before if n.startswith(part) and "num_batches" not in n]
    assert names, part
    changed = [not torch.equal(before[n], after[n]) for n in names]
    return any(changed), all(changed)


def toy_config(work_dir, max_epochs=5, hooks=(), **changes):
    """A config for mmengine's Runner; ``changes`` replace or add top-level settings."""
    loader = {
        "dataset": {"type": "ToyImages"},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_size": 4,
        "num_workers": 0,
    }
    cfg = {
        "model": {"type": "ToyDetector"},
        "work_dir": str(work_dir),
        "train_dataloader": loader,
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": max_epochs},
        "optim_wrapper": {
            "optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1},
            "paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.5}}},
        },
        "custom_hooks": [*hooks, {"type": "Snapshots"}],
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": -1, "save_last": False},
            "logger": {"type": "LoggerHook", "interval": 1},
        },
        "default_scope": "mmengine",
        "randomness": {"seed": 7},
        "log_level": "INFO",
        "experiment_name": f"toy_{uuid.uuid4().hex}",  # mmengine keeps global objects by this name
    }
    cfg.update(changes)
    return Config(cfg)


def train(cfg, model=None):
    """Train; returns the runner and its `Snapshots`. ``model`` replaces the config's."""
    runner = Runner.from_cfg(cfg)
    runner.model = runner.model if model is None else model
    runner.train()
    return runner, next(h for h in runner.hooks if isinstance(h, Snapshots))


REPO = Path(__file__).resolve().parents[2]


def write_config(folder, **kwargs):
    """A config file that the command-line tools load."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = toy_config(folder, **kwargs)
    cfg.custom_imports = {"imports": ["tests.engine.toy"]}
    path = folder / "toy.py"
    cfg.dump(path)
    return path


def command(*args, **env):
    """Popen arguments of a tool on the CPU with one thread."""
    env = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        **env,
    }
    return {"args": [str(a) for a in args], "env": env, "cwd": REPO}


def run_tool(*args, **env):
    """Run to the end; returns stdout and stderr together."""
    done = subprocess.run(
        **command(*args, **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
