"""ALOCC: a refiner learns to clean noisy healthy images, a detector to tell its output from real ones.

Source: Sabokrou et al., "Adversarially Learned One-Class Classifier for Novelty Detection" (CVPR 2018, arXiv
1802.09088) and the released code (commit d1810b2, MIT licence). Where the two differ this follows the paper; see
docs/anomaly_peers.md.
Command: ``python tools/train.py configs/alocc_phantom.py --data-root data/phantom_anomaly --amp``.
"""

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn import functional as F

from medkit.errors import ConfigError
from medkit.models.anomaly.adversarial import AdversarialModel, difference_map
from medkit.models.anomaly.gan_nets import doubling, halving, judged
from medkit.registry import MODELS

NORM_EPS = 1e-6  # of batch norms, as the paper says
MEMORY = 0.99  # of the running mean of the reconstruction error


class Refiner(nn.Module):
    """A denoising autoencoder of three layers down and three up, 5 x 5 pixels each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = halving([3, width, 2 * width, 4 * width], 5, norm_first=True, bias=True)
        self.up = doubling([4 * width, width, width // 2, 3], 5, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to the same, in [-1, 1] and float32."""
        return torch.tanh(self.up(self.down(x)).float())


class Detector(nn.Module):
    """Four convolutions and a linear layer; no norm on the first."""

    def __init__(self, img_size: int, width: int) -> None:
        super().__init__()
        self.layers = halving([3, width, 2 * width, 4 * width, 8 * width], 5, norm_first=False, bias=True)
        self.classifier = nn.Linear(8 * width * (img_size // 16) ** 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to logits (B,), high = healthy."""
        return self.classifier(self.layers(x).flatten(1)).flatten()


@MODELS.register_module()
class ALOCC(AdversarialModel):
    """Refiner R against detector D; an image scores 1 - D(R(x)), without noise.

    The method has no map of its own; the map is the difference of image and refined image. `train_step` updates the
    detector once, then the refiner ``refiner_steps`` times.

    The result hangs on when training stops: a refiner that learns on learns to refine anomalies as well. The paper
    stops once the reconstruction error falls below a value that it does not give. With ``stop_error`` set, weights stay
    as they are from the first iteration on after which the running mean of the error over about 100 iterations is
    below it; ``stopped`` is then 1 in the log, and a checkpoint knows it. Without, ``max_iters`` decides.

    Args:
        img_size: side of the images, a multiple of 16.
        refiner_width: channels of the refiner's first layer; 32 as released.
        detector_width: channels of the detector's first layer; 64 as in the paper, 16 as released.
        noise: standard deviation of the noise on the refiner's input in training; 0.155 as published.
        rec_weight: of the reconstruction error; 0.4 as in the paper.
        refiner_steps: per step of the detector; 2 as released.
        stop_error: mean squared error of images in [-1, 1] at which training stops; None never.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: an argument is out of range, or as for `AdversarialModel`.
    """

    parts = ("refiner", "detector")

    def __init__(
        self,
        img_size: int = 64,
        refiner_width: int = 32,
        detector_width: int = 64,
        noise: float = 0.155,
        rec_weight: float = 0.4,
        refiner_steps: int = 2,
        stop_error: float | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(img_size, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if noise < 0 or refiner_steps < 1 or refiner_width < 2 or (stop_error is not None and stop_error <= 0):
            raise ConfigError(
                f"ALOCC: noise={noise}, refiner_steps={refiner_steps}, refiner_width={refiner_width}, "
                f"stop_error={stop_error}; expected 0 or more, 1 or more, 2 or more, and None or more than 0"
            )
        self.noise, self.rec_weight, self.refiner_steps, self.stop_error = noise, rec_weight, refiner_steps, stop_error
        self.refiner = Refiner(refiner_width)
        self.detector = Detector(img_size, detector_width)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = NORM_EPS
        self.register_buffer("error", torch.full((), -1.0))  # running mean of the reconstruction error; -1: none yet
        self.register_buffer("stopped", torch.zeros((), dtype=torch.bool))

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) of the difference to the refined image, and 1 - D(R(x)) (B,) in [0, 1]."""
        refined = self.refiner(images)
        # Not 1 - sigmoid: that rounds all confident scores to the same 0.
        return difference_map(images, refined), torch.sigmoid(-self.detector(refined).float())

    def train_step(self, data: dict, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
        """One update of the detector and ``refiner_steps`` of the refiner, with the same noisy images."""
        wrappers = self.optimizers(optim_wrapper)
        images = self.training_images(data)["healthy"]
        if self.stopped:
            return {"stopped": self.stopped.float(), "rec_error": self.error.clone()}
        noisy = images + self.noise * torch.randn_like(images)
        losses = self.update(wrappers["detector"], lambda: self.detector_losses(images, noisy))
        for _ in range(self.refiner_steps):
            of_refiner = self.update(wrappers["refiner"], lambda: self.refiner_losses(images, noisy))
        self._watch(of_refiner["r_loss_rec"])
        return {**losses, **of_refiner, "stopped": self.stopped.float(), "rec_error": self.error.clone()}

    def detector_losses(self, images: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        """``d_loss``: cross-entropies of clean images as real and refined ones as fake."""
        with torch.no_grad():
            refined = self.refiner(noisy)
        real, fake = judged(self.detector(images), 1), judged(self.detector(refined), 0)
        return {"d_loss": real + fake, "d_loss_real": real, "d_loss_fake": fake}

    def refiner_losses(self, images: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        """``r_loss``: the detector takes refined images for real, and they equal the clean ones."""
        refined = self.refiner(noisy)
        adv, rec = judged(self.detector(refined), 1), F.mse_loss(refined, images)
        return {"r_loss": adv + self.rec_weight * rec, "r_loss_adv": adv, "r_loss_rec": rec}

    def _watch(self, error: Tensor) -> None:
        """Running mean of the reconstruction error over all processes, and whether it is low enough to stop."""
        error = error.clone()
        all_reduce(error, "mean")
        self.error.copy_(error if self.error < 0 else MEMORY * self.error + (1 - MEMORY) * error)
        if self.stop_error is not None:
            self.stopped.fill_(bool(self.error < self.stop_error))
