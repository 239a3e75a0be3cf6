"""HealthyGAN: anomalies as what a translation to healthy images changes, learnt without disease labels.

Source: Rahman Siddiquee et al., "HealthyGAN: Learning from Unannotated Medical Images to Detect Anomalies Associated
with Human Disease" (SASHIMI 2022, arXiv 2209.01822) and the released code. See docs/healthygan.md.
Command: ``python tools/train.py configs/healthygan_phantom.py --data-root data/phantom_anomaly --amp``.
"""

from collections.abc import Mapping

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.anomaly.base import AnomalyModel
from medkit.models.anomaly.healthygan_losses import gradient_penalty, mask_terms, reconstruction, weighted_sum
from medkit.models.anomaly.healthygan_nets import HealthyDiscriminator, HealthyGenerator, translate
from medkit.models.anomaly.healthygan_weights import load_official
from medkit.registry import MODELS

# Weights of the loss terms as published.
WEIGHTS = dict(gp=10.0, adv=1.0, adv_healthy=1.0, identity=1.0, rec=1.0, focus=0.1, size=1.0, binary=1.0)


@MODELS.register_module()
class HealthyGAN(AnomalyModel):
    """Generator with an attention mask against a discriminator with gradient penalty (WGAN-GP).

    An image scores mean |x - H| / 2 over channels and pixels, H being its healthy translation; the map is the mean over
    channels. Both are in [0, 1]. Only instance statistics are used, in training and in evaluation alike.

    `train_step` updates the discriminator with every batch and the generator with every ``generator_every``-th, so an
    iteration is one update of the discriminator. It takes an `OptimWrapperDict` with ``generator`` and
    ``discriminator`` (`medkit.PartsOptimWrapperConstructor`). ``mask_stats`` then holds mean, smallest and largest
    value of the last masks of both sets.

    Args:
        generator: arguments of `HealthyGenerator`.
        discriminator: arguments of `HealthyDiscriminator`.
        weights: of the loss terms, in place of the published ones (``WEIGHTS``): ``gp`` gradient penalty, ``adv`` and
            ``adv_healthy`` score of translated mixed and healthy images, ``identity`` raw image of a healthy one
            against the input, ``rec`` raw image outside the mask against the input, ``focus`` both mask terms, of
            which ``size`` and ``binary``.
        generator_every: batches per update of the generator.
        official_weights: ``dict(generator=PATH, discriminator=PATH)``, files of the released code to start from.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: unknown weight, images of a size not divisible by 4, or a single optimizer.
        WeightsError: official weights are missing or do not fit.
    """

    needs_mixed = True

    def __init__(
        self,
        generator: dict | None = None,
        discriminator: dict | None = None,
        weights: Mapping[str, float] | None = None,
        generator_every: int = 2,
        official_weights: Mapping[str, str] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        unknown = sorted(set(weights or {}) - set(WEIGHTS))
        if unknown or generator_every < 1:
            raise ConfigError(
                f"HealthyGAN: weights={unknown} are unknown, known are {sorted(WEIGHTS)}; "
                f"generator_every={generator_every}, expected 1 or more"
            )
        self.generator = HealthyGenerator(**(generator or {}))
        self.discriminator = HealthyDiscriminator(**(discriminator or {}))
        self.weights = {**WEIGHTS, **(weights or {})}
        self.generator_every = generator_every
        self.official_weights = dict(official_weights or {})
        self.min_size = 2 ** (len(self.discriminator.main) // 2)  # the discriminator must keep one patch
        self.mask_stats: dict[str, Tensor] = {}
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))  # updates of the discriminator so far

    def init_weights(self) -> None:
        """Torch's own initialisation, or the official weights."""
        super().init_weights()
        load_official(self, self.official_weights)

    def check_size(self, images: Tensor) -> None:
        """Refuse images that are too small, or that the generator would return in another size."""
        super().check_size(images)
        if images.shape[-2] % 4 or images.shape[-1] % 4:
            raise ConfigError(
                f"HealthyGAN halves images twice, so their sides must be divisible by 4, got "
                f"{tuple(images.shape[-2:])}; set --cfg-options img_size={max(images.shape[-2:]) // 4 * 4}"
            )

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) and scores (B,) in [0, 1]: half the difference to the healthy translation."""
        healthy, _, _ = translate(self.generator, images)
        maps = (images - healthy).abs().mean(dim=1) / 2  # (B, H, W)
        return maps, maps.mean(dim=(1, 2))

    def translate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Healthy translations (B, 3, H, W) of images in [-1, 1], and masks (B, 1, H, W) of where they change them."""
        healthy, _, mask = translate(self.generator, images)
        return healthy, mask

    def train_step(self, data: dict, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
        """One update of the discriminator and, every ``generator_every`` batches, one of the generator."""
        if not isinstance(optim_wrapper, OptimWrapperDict):
            raise ConfigError(
                "HealthyGAN trains with two optimizers; set optim_wrapper as configs/_base_/models/healthygan.py does, "
                "with constructor='medkit.PartsOptimWrapperConstructor' and parts generator and discriminator"
            )
        images = self.training_images(data)
        losses = self._update("discriminator", images, optim_wrapper["discriminator"])
        self.steps += 1
        if int(self.steps) % self.generator_every == 0:
            losses |= self._update("generator", images, optim_wrapper["generator"])
        return losses

    def discriminator_losses(self, mixed: Tensor, healthy: Tensor, alpha: Tensor | None = None) -> dict[str, Tensor]:
        """``d_loss`` and its terms for (B, 3, H, W) images; ``alpha`` (B, 1, 1, 1) is drawn where absent."""
        with torch.no_grad():
            fake, _, _ = translate(self.generator, mixed)  # (B, 3, H, W)
        real_scores, fake_scores = self.discriminator(torch.cat((healthy, fake))).float().chunk(2)
        if alpha is None:
            alpha = torch.rand(len(healthy), 1, 1, 1, device=healthy.device)
        terms = {
            "d_loss_real": -real_scores.mean(),
            "d_loss_fake": fake_scores.mean(),
            "d_loss_gp": gradient_penalty(self.discriminator, healthy, fake, alpha),
        }
        weights = {"d_loss_real": 1.0, "d_loss_fake": 1.0, "d_loss_gp": self.weights["gp"]}
        return {"d_loss": weighted_sum(terms, weights), **terms}

    def generator_losses(self, mixed: Tensor, healthy: Tensor) -> dict[str, Tensor]:
        """``g_loss`` and its terms for (B, 3, H, W) images; sets ``mask_stats``."""
        images = torch.cat((mixed, healthy))  # (2B, 3, H, W); instance norm treats each image by itself
        translated, raw, mask = translate(self.generator, images)
        scores, scores_healthy = self.discriminator(translated).float().chunk(2)
        masks = dict(zip(("mixed", "healthy"), mask.chunk(2), strict=True))  # (B, 1, H, W) each
        self.mask_stats = {name: _stats(of_set.detach()) for name, of_set in masks.items()}
        w = self.weights
        sizes, binaries = zip(*(mask_terms(of_set) for of_set in masks.values()), strict=True)
        terms = {
            "g_loss_adv": -scores.mean(),
            "g_loss_adv_healthy": -scores_healthy.mean(),
            "g_loss_identity": (healthy - raw.chunk(2)[1]).abs().mean(),
            "g_loss_rec": reconstruction(mixed, raw.chunk(2)[0], masks["mixed"]),
            "g_loss_focus": w["size"] * torch.stack(sizes).mean() + w["binary"] * torch.stack(binaries).mean(),
        }
        return {"g_loss": weighted_sum(terms, {f"g_loss_{name}": weight for name, weight in w.items()}), **terms}

    def _update(self, part: str, images: Mapping[str, Tensor], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Losses of one network and a step of its optimizer; the other network stays as it is."""
        of_part = self.generator_losses if part == "generator" else self.discriminator_losses
        self.discriminator.requires_grad_(part == "discriminator")
        with optim_wrapper.optim_context(self):
            losses = of_part(images["mixed"], images["healthy"])
        checked = self.check_losses(losses)
        optim_wrapper.update_params(losses[part[0] + "_loss"])
        self.discriminator.requires_grad_(True)
        return checked


def _stats(mask: Tensor) -> Tensor:
    """Mean, smallest and largest value of a batch of masks."""
    return torch.stack((mask.mean(), mask.amin(), mask.amax()))
