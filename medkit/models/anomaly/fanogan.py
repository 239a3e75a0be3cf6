"""f-AnoGAN: a WGAN of healthy images, then an encoder into it; anomalies as what the GAN cannot rebuild.

Source: Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks" (Medical
Image Analysis 54, 2019) and the released code (commit 35b1de9, MIT licence). See docs/anomaly_peers.md.
Command: ``python tools/train.py configs/fanogan_phantom.py --data-root data/phantom_anomaly --amp``.
"""

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.anomaly.adversarial import AdversarialModel, difference_map
from medkit.models.anomaly.fanogan_nets import ImageToVector, ResidualGenerator
from medkit.models.anomaly.healthygan_losses import gradient_penalty
from medkit.registry import MODELS


@MODELS.register_module()
class FAnoGAN(AdversarialModel):
    """WGAN-GP in a first stage, an encoder E into its frozen generator G in a second ("izi_f").

    An image scores mean (x - G(E(x)))^2 + kappa * mean (f(x) - f(G(E(x))))^2, f being the critic's features; its map is
    |x - G(E(x))|, as published, here the mean over channels and halved.

    One training runs both stages: the first ``gan_iters`` batches train the critic, every ``critic_steps``-th of them
    the generator as well; all further ones train the encoder. The stage follows from the buffer ``steps``, so that a
    resumed run is in the right one. Scores mean nothing before the second stage.

    Args:
        img_size: side of the images, 16 times a power of two; 64 as published.
        width: channels of the critic's first layer, later ones have up to 8 times as many; 64 as published.
        latent: length of the code; 128 as published.
        gan_iters: batches of the first stage.
        critic_steps: updates of the critic per update of the generator; 5 as published.
        gp_weight: of the gradient penalty; 10 as published.
        kappa: weight of the feature term; 1 as published.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: an argument is out of range, or as for `AdversarialModel`.
    """

    parts = ("generator", "critic", "encoder")
    doubling = True

    def __init__(
        self,
        img_size: int = 64,
        width: int = 64,
        latent: int = 128,
        gan_iters: int = 100_000,
        critic_steps: int = 5,
        gp_weight: float = 10.0,
        kappa: float = 1.0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(img_size, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if gan_iters < 0 or critic_steps < 1:
            raise ConfigError(
                f"FAnoGAN: gan_iters={gan_iters}, critic_steps={critic_steps}; expected 0 or more, 1 or more"
            )
        self.latent, self.gan_iters, self.critic_steps = latent, gan_iters, critic_steps
        self.gp_weight, self.kappa = gp_weight, kappa
        self.generator = ResidualGenerator(img_size, width, latent)
        self.critic = ImageToVector(img_size, width, 1, norm="layer")
        self.encoder = ImageToVector(img_size, width, latent, norm="batch")
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))  # batches so far

    @property
    def stage(self) -> int:
        """1 while the next batch trains the GAN, 2 once it trains the encoder."""
        return 1 if int(self.steps) < self.gan_iters else 2

    def rebuild(self, images: Tensor) -> Tensor:
        """G(E(x)) of (B, 3, H, W) images in [-1, 1]."""
        return self.generator(torch.tanh(self.encoder(images)[0].float()))

    def distances(self, images: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared differences (B,) of images and of the critic's features of them."""
        features, features_rebuilt = (self.critic(x)[1].float() for x in (images, rebuilt))
        return (images - rebuilt).square().mean(dim=(1, 2, 3)), (features - features_rebuilt).square().mean(dim=1)

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) of the difference to G(E(x)), and scores (B,)."""
        rebuilt = self.rebuild(images)
        image, feature = self.distances(images, rebuilt)
        return difference_map(images, rebuilt), image + self.kappa * feature

    def train_step(self, data: dict, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
        """One batch of the stage that ``steps`` says."""
        wrappers = self.optimizers(optim_wrapper)
        images = self.training_images(data)["healthy"]
        stage = self.stage
        self.steps += 1
        if stage == 2:
            self.generator.eval()  # frozen with its statistics, as scoring uses it
            return self.update(wrappers["encoder"], lambda: self.encoder_losses(images))
        losses = self.update(wrappers["critic"], lambda: self.critic_losses(images))
        if int(self.steps) % self.critic_steps == 0:
            losses |= self.update(wrappers["generator"], lambda: self.generator_losses(len(images), images.device))
        return losses

    def critic_losses(self, images: Tensor) -> dict[str, Tensor]:
        """``d_loss`` and its terms for healthy images (B, 3, H, W)."""
        with torch.no_grad():
            fake = self.generator(torch.randn(len(images), self.latent, device=images.device))
        alpha = torch.rand(len(images), 1, 1, 1, device=images.device)
        terms = {
            "d_loss_real": -self.critic(images)[0].float().mean(),
            "d_loss_fake": self.critic(fake)[0].float().mean(),
            "d_loss_gp": gradient_penalty(lambda x: self.critic(x)[0], images, fake, alpha),
        }
        total = terms["d_loss_real"] + terms["d_loss_fake"] + self.gp_weight * terms["d_loss_gp"]
        return {"d_loss": total, **terms}

    def generator_losses(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """``g_loss``: what the critic makes of new images."""
        fake = self.generator(torch.randn(number, self.latent, device=device))
        return {"g_loss": -self.critic(fake)[0].float().mean()}

    def encoder_losses(self, images: Tensor) -> dict[str, Tensor]:
        """``e_loss`` and its terms: the score itself, mean over the batch."""
        image, feature = (term.mean() for term in self.distances(images, self.rebuild(images)))
        return {"e_loss": image + self.kappa * feature, "e_loss_image": image, "e_loss_feature": feature}
