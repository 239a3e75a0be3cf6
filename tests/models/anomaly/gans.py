"""Small models of the four GAN peers, built as their configs build them, and batches of healthy images for them."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict

from medkit.apis.config import load_config
from medkit.models.anomaly.adversarial import AdversarialModel
from medkit.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SMALL: dict[str, dict] = {
    "ganomaly": dict(width=4, latent=6),
    "alad": dict(width=4, critic_width=4, latent=6),
    "alocc": dict(refiner_width=4, detector_width=4),
    "fanogan": dict(width=4, latent=6, gan_iters=6),
}


def config(method: str, amp: bool = False, **options) -> Config:
    """The method's phantom config with a few hundred weights and 32-pixel images."""
    options = {"img_size": 32, **SMALL[method], **options}
    return load_config(CONFIGS / f"{method}_phantom.py", amp=amp, cfg_options=options)


def build(method: str, amp: bool = False, seed: int = 0, **options) -> tuple[AdversarialModel, OptimWrapperDict]:
    """Model in training mode and its optimizers."""
    cfg = config(method, amp, **options)
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    settings = dict(cfg.optim_wrapper)
    kind = settings.pop("constructor")
    wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build(dict(type=kind, optim_wrapper_cfg=settings))(model)
    return model.train(), wrapper


def batch(size: int = 32, number: int = 4, seed: int = 1) -> dict:
    """Noise images as a training loader of healthy images gives them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (number, 3, size, size), generator=generator, dtype=torch.uint8)
    return dict(inputs=dict(healthy=images))


def images(number: int = 4, size: int = 32, seed: int = 2) -> torch.Tensor:
    """(number, 3, size, size) in [-1, 1]."""
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def moved(model: AdversarialModel, wrapper: OptimWrapperDict) -> set[str]:
    """Networks whose parameters a training step changes."""
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    model.train_step(batch(), wrapper)
    return {name.split(".")[0] for name, param in model.named_parameters() if not torch.equal(param, before[name])}
