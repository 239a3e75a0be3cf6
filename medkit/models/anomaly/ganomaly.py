"""GANomaly: anomalies as images whose code changes when they are encoded, decoded and encoded again.

Source: Akcay et al., "GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training" (ACCV 2018, arXiv
1805.06725) and the released code (commit 78da4ea, MIT licence), whose numbers this equals. See docs/anomaly_peers.md.
Command: ``python tools/train.py configs/ganomaly_phantom.py --data-root data/phantom_anomaly --amp``.
"""

from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn import functional as F

from medkit.errors import ConfigError
from medkit.models.anomaly.adversarial import AdversarialModel, difference_map
from medkit.models.anomaly.gan_nets import doubling, halving, init_normal, judged, widths_for
from medkit.models.anomaly.healthygan_losses import weighted_sum
from medkit.registry import MODELS

# Weights of the generator's loss terms as published.
WEIGHTS = dict(adv=1.0, con=50.0, enc=1.0)
INIT = dict(std=0.02, norm_std=0.02)


def encoder(img_size: int, width: int, out_channels: int) -> nn.Sequential:
    """(B, 3, S, S) to (B, out_channels, 1, 1): conv layers down to 4 x 4, no norm on the first, then one over all."""
    channels = widths_for(img_size, width, largest=img_size)
    layers = halving([3, *channels], 4, norm_first=False, bias=False)
    return nn.Sequential(layers, nn.Conv2d(channels[-1], out_channels, 4, bias=False))


class GANomalyGenerator(nn.Module):
    """Encoder, decoder and a second encoder with weights of its own.

    Args:
        img_size: side of the images, 4 times a power of two.
        width: channels of the first layer; each further one has twice as many.
        latent: length of the code.
    """

    def __init__(self, img_size: int, width: int, latent: int) -> None:
        super().__init__()
        channels = widths_for(img_size, width, largest=img_size)[::-1]
        self.encoder1 = encoder(img_size, width, latent)
        first = nn.ConvTranspose2d(latent, channels[0], 4, bias=False)
        self.decoder = nn.Sequential(
            first, nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True), doubling([*channels, 3], 4, bias=False)
        )
        self.encoder2 = encoder(img_size, width, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) to its rebuilt image, its code (B, latent, 1, 1) and the rebuilt image's code; float32."""
        code = self.encoder1(x)
        rebuilt = torch.tanh(self.decoder(code).float())  # (B, 3, S, S)
        return rebuilt, code.float(), self.encoder2(rebuilt).float()


class GANomalyDiscriminator(nn.Module):
    """An encoder with one output; its last feature map is what the generator has to match."""

    def __init__(self, img_size: int, width: int) -> None:
        super().__init__()
        self.features, self.classifier = encoder(img_size, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) to logits (B,), high = real, and features (B, C, 4, 4)."""
        features = self.features(x)
        return self.classifier(features).flatten(), features


@MODELS.register_module()
class GANomaly(AdversarialModel):
    """An autoencoder between two encoders, against a discriminator whose features it matches.

    An image scores the mean squared difference of its code and its rebuilt image's code; the method has no map of its
    own, so that the map is the difference of image and rebuilt image. `train_step` updates the generator, then the
    discriminator, with the same rebuilt images; a discriminator whose loss falls below ``restart_below`` has won and
    gets new weights.

    Args:
        img_size: side of the images, 16 times a power of two.
        width: channels of the first layer; 64 as published.
        latent: length of the code; 100 as published.
        weights: of the loss terms, in place of the published ones (``WEIGHTS``): ``adv`` features, ``con`` image,
            ``enc`` code.
        restart_below: 1e-5 as published; 0 never restarts.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: unknown weight, or as for `AdversarialModel`.
    """

    doubling = True

    def __init__(
        self,
        img_size: int = 64,
        width: int = 64,
        latent: int = 100,
        weights: Mapping[str, float] | None = None,
        restart_below: float = 1e-5,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(img_size, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        unknown = sorted(set(weights or {}) - set(WEIGHTS))
        if unknown:
            raise ConfigError(f"GANomaly: weights={unknown} are unknown, known are {sorted(WEIGHTS)}")
        self.weights = {**WEIGHTS, **(weights or {})}
        self.restart_below = restart_below
        self.generator = GANomalyGenerator(img_size, width, latent)
        self.discriminator = GANomalyDiscriminator(img_size, width)
        init_normal(self, **INIT)
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long))  # of the discriminator so far

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) of the difference to the rebuilt image, and distances of the codes (B,)."""
        rebuilt, code, code_again = self.generator(images)
        return difference_map(images, rebuilt), (code - code_again).square().mean(dim=(1, 2, 3))

    def train_step(self, data: dict, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
        """One update of the generator and one of the discriminator."""
        wrappers = self.optimizers(optim_wrapper)
        images = self.training_images(data)["healthy"]
        with wrappers["generator"].optim_context(self):
            outputs = self.generator(images)
        losses = self.update(wrappers["generator"], lambda: self.generator_losses(images, *outputs))
        rebuilt = outputs[0].detach()
        losses |= self.update(wrappers["discriminator"], lambda: self.discriminator_losses(images, rebuilt))
        self._restart_winner(losses["d_loss"])
        return losses

    def generator_losses(self, images: Tensor, rebuilt: Tensor, code: Tensor, code_again: Tensor) -> dict[str, Tensor]:
        """``g_loss`` and its terms for images and what the generator made of them."""
        _, features = self.discriminator(images)
        _, features_rebuilt = self.discriminator(rebuilt)
        terms = {
            "g_loss_adv": F.mse_loss(features_rebuilt.float(), features.float()),
            "g_loss_con": F.l1_loss(rebuilt, images),
            "g_loss_enc": F.mse_loss(code_again, code),
        }
        weights = {f"g_loss_{name}": weight for name, weight in self.weights.items()}
        return {"g_loss": weighted_sum(terms, weights), **terms}

    def discriminator_losses(self, images: Tensor, rebuilt: Tensor) -> dict[str, Tensor]:
        """``d_loss``: half the sum of both cross-entropies; the rebuilt images carry no gradient."""
        real, fake = judged(self.discriminator(images)[0], 1), judged(self.discriminator(rebuilt)[0], 0)
        return {"d_loss": (real + fake) / 2, "d_loss_real": real, "d_loss_fake": fake}

    def _restart_winner(self, loss: Tensor) -> None:
        """New weights for a discriminator that tells everything apart; the same ones in all processes."""
        loss = loss.clone()
        all_reduce(loss, "mean")
        if float(loss) < self.restart_below:
            init_normal(self.discriminator, **INIT)
            for param in self.discriminator.parameters():
                broadcast(param.data)
            self.restarts += 1
