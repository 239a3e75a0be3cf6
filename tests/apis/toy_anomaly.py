"""A detector of bright spots that trains in no time, and a folder of configs for it."""

from pathlib import Path

import torch
from mmengine.registry import Registry
from torch import Tensor, nn

from medkit.models.anomaly.base import AnomalyModel
from medkit.registry import MODELS

BASE = Path(__file__).resolve().parents[2] / "configs" / "_base_"
assert isinstance(MODELS, Registry)


@MODELS.register_module(force=True)
class BrightSpots(AnomalyModel):
    """Scores the brightest pixel above the mean of the healthy images, times ``gain``, a buffer."""

    min_size = 8

    def __init__(self, gain: float = 1.0, noise: float = 0.0, fails: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.mean = nn.Parameter(torch.zeros(()))
        self.register_buffer("gain", torch.tensor(gain))
        self.noise, self.fails = noise, fails

    def train_step(self, data, optim_wrapper):
        healthy = self.training_images(data)["healthy"]
        loss = (self.mean - healthy.mean()).square()
        terms = self.check_losses({"loss": loss * (float("nan") if self.fails else 1)})
        optim_wrapper.update_params(loss)
        return terms

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = (images - self.mean).mean(dim=1)  # (B, H, W)
        return self.gain * maps, self.gain * maps.amax(dim=(1, 2)) + self.noise * torch.randn(len(maps))


def write_config(folder: Path, name: str, **model) -> Path:
    """A config METHOD_phantom.py of `BrightSpots`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_phantom.py"
    settings = ", ".join(f"{key}={value!r}" for key, value in model.items())
    path.write_text(
        f"_base_ = ['{BASE}/datasets/anomaly.py', '{BASE}/runtime_anomaly.py']\n"
        f"img_size = 32\nbatch_size = 4\nnum_workers = 0\nmixed = False\nmax_iters = 4\nmethod_hooks = []\n"
        f"model = dict(type='medkit.BrightSpots', {settings})\n"
        "optim_wrapper = dict(type='mmengine.OptimWrapper', optimizer=dict(type='mmengine.SGD', lr=0.5))\n"
    )
    return path
