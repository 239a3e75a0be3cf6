"""ALAD: a bidirectional GAN with three critics; anomalies as images that a critic tells from their reconstruction.

Source: Zenati et al., "Adversarially Learned Anomaly Detection" (ICDM 2018, arXiv 1812.02288) and the released code
(commit 1f1c310, MIT licence), its networks for 32 x 32 pixels with a layer more for each doubling. See
docs/anomaly_peers.md.
Command: ``python tools/train.py configs/alad_phantom.py --data-root data/phantom_anomaly --amp``.
"""

import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.anomaly.adversarial import AdversarialModel, difference_map
from medkit.models.anomaly.alad_nets import ImagePairCritic, JointCritic, LatentPairCritic, make_encoder, make_generator
from medkit.models.anomaly.gan_nets import judged
from medkit.registry import MODELS


@MODELS.register_module()
class ALAD(AdversarialModel):
    """Encoder E and generator G against critics of (x, z), (x, x) and (z, z).

    An image scores the L1 distance, summed, of the features that the critic of image pairs has of (x, x) and of
    (x, G(E(x))). The method has no map of its own; the map is the difference of x and G(E(x)). Both are made by
    averaged weights (``average_*`` in checkpoints), as released. `train_step` updates the critics, then encoder and
    generator, each with codes drawn anew.

    Args:
        img_size: side of the images, 16 times a power of two.
        width: channels of the first layer, later ones have up to 4 times as many; 128 as released.
        latent: length of the code; 100 as released.
        critic_width: channels of the first layer of the critic of image pairs; 64 as released.
        spectral: spectral norm on the encoder and the critics, as the release recommends.
        pairs: how the critic sees an image pair: ``channels`` (6 of them) or, as released, ``height`` (one above the
            other).
        average: share of the current weights in the averaged ones, per step; 0.001 as released, which wants several
            thousand steps.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: an argument is out of range, or as for `AdversarialModel`.
    """

    parts = ("generator", "critics")
    doubling = True

    def __init__(
        self,
        img_size: int = 64,
        width: int = 128,
        latent: int = 100,
        critic_width: int = 64,
        spectral: bool = True,
        pairs: str = "channels",
        average: float = 1e-3,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(img_size, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if pairs not in ("channels", "height") or not 0 < average < 1:
            raise ConfigError(
                f"ALAD: pairs={pairs!r}, average={average}; expected 'channels' or 'height', and more than 0 and less "
                "than 1"
            )
        self.latent = latent
        self.encoder = make_encoder(img_size, width, latent, spectral)
        self.generator = make_generator(img_size, width, latent)
        self.critic_xz = JointCritic(img_size, width, latent, spectral)
        self.critic_xx = ImagePairCritic(img_size, critic_width, pairs, spectral)
        self.critic_zz = LatentPairCritic(latent, spectral)
        self.average_encoder = ExponentialMovingAverage(self.encoder, average)
        self.average_generator = ExponentialMovingAverage(self.generator, average)
        self.average_critic_xx = ExponentialMovingAverage(self.critic_xx, average)

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) of the difference to the reconstruction, and feature distances (B,), by averaged weights."""
        rebuilt = self.average_generator(self.average_encoder(images)).float()  # (B, 3, H, W)
        _, same = self.average_critic_xx(images, images)
        _, other = self.average_critic_xx(images, rebuilt)
        return difference_map(images, rebuilt), (same.float() - other.float()).abs().sum(dim=1)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
        """One update of the critics and one of encoder and generator."""
        wrappers = self.optimizers(optim_wrapper)
        images = self.training_images(data)["healthy"]
        drawn = torch.randn(2, len(images), self.latent, device=images.device)
        losses = self.update(wrappers["critics"], lambda: self.critic_losses(images, drawn[0]))
        losses |= self.update(wrappers["generator"], lambda: self.generator_losses(images, drawn[1]))
        for name in ("encoder", "generator", "critic_xx"):
            network = getattr(self, name)
            getattr(self, f"average_{name}").update_parameters(getattr(network, "module", network))
        return losses

    def critic_losses(self, images: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """``d_loss`` and its terms for images (B, 3, H, W) and codes (B, latent): real pairs are real, others fake."""
        with torch.no_grad():
            made = self._made(images, drawn)
        terms = {f"d_loss_{name}": judged(r, 1) + judged(f, 0) for name, (r, f) in self._logits(*made).items()}
        return {"d_loss": torch.stack(list(terms.values())).sum(), **terms}

    def generator_losses(self, images: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """``g_loss`` and its terms: the same with real and fake exchanged.

        Of the (x, z) term, the half of (x, E(x)) moves the encoder alone, that of (G(z), z) the generator alone, so
        that one sum gives each the gradient of its own loss.
        """
        logits = self._logits(*self._made(images, drawn))
        terms = {f"g_loss_{name}": judged(r, 0) + judged(f, 1) for name, (r, f) in logits.items()}
        return {"g_loss": torch.stack(list(terms.values())).sum(), **terms}

    def _made(self, images: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        """x, z, E(x), G(z), G(E(x)) and E(G(z))."""
        code, fake = self.encoder(images), self.generator(drawn)
        return images, drawn, code, fake, self.generator(code), self.encoder(fake)

    def _logits(
        self, x: Tensor, z: Tensor, code: Tensor, fake: Tensor, rebuilt: Tensor, code_again: Tensor
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each critic the logits (B,) of real and of fake pairs."""
        return {
            "xz": (self.critic_xz(x, code), self.critic_xz(fake, z)),
            "xx": (self.critic_xx(x, x)[0], self.critic_xx(x, rebuilt)[0]),
            "zz": (self.critic_zz(z, z), self.critic_zz(z, code_again)),
        }
