"""What the four GAN peers of HealthyGAN share: one image size, and updates of one network against the others.

GANomaly, ALAD, ALOCC and f-AnoGAN train on healthy images only (docs/anomaly_peers.md). Their networks are flattened to
vectors at a depth that follows from the image size, so that a model takes square images of one size, said when it is
built.
Command: ``python tools/train.py configs/ganomaly_phantom.py --data-root data/phantom_anomaly --amp``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.anomaly.base import AnomalyModel


class AdversarialModel(AnomalyModel):
    """Base of the GANs that train on healthy images.

    A subclass names its optimizers in ``parts`` and the multiple that its image size must be of in ``min_size``; with
    ``doubling`` only ``min_size`` times a power of two will do. Scores and maps use the statistics of batch norms
    that training has gathered, once the model is in eval mode, as every test loop sets it: an image's score then does
    not depend on the images scored along with it.

    Args:
        img_size: side of the images in pixels.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: an image size that the networks cannot take, images of another size, or a single optimizer.
    """

    min_size = 16
    parts: tuple[str, ...] = ("generator", "discriminator")
    doubling = False

    def __init__(
        self, img_size: int, data_preprocessor: dict | nn.Module | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        times, rest = divmod(img_size, self.min_size)
        if times < 1 or rest or (self.doubling and times & (times - 1)):
            kind = "times a power of two" if self.doubling else "or a multiple of it"
            raise ConfigError(
                f"{type(self).__name__}: img_size={img_size}, expected {self.min_size} {kind}; set --cfg-options "
                f"img_size={self.min_size * 4}"
            )
        self.img_size = img_size

    def check_size(self, images: Tensor) -> None:
        """Refuse images of another size than the networks were built for."""
        super().check_size(images)
        if images.shape[-2:] != (self.img_size, self.img_size):
            raise ConfigError(
                f"{type(self).__name__} was built for {self.img_size} x {self.img_size} pixels, got "
                f"{images.shape[-2]} x {images.shape[-1]}; give square images of that size, or set img_size"
            )

    def optimizers(self, optim_wrapper: OptimWrapper | OptimWrapperDict) -> OptimWrapperDict:
        """The optimizers, one for each of ``parts``."""
        if isinstance(optim_wrapper, OptimWrapperDict) and set(optim_wrapper.keys()) == set(self.parts):
            return optim_wrapper
        found = sorted(optim_wrapper.keys()) if isinstance(optim_wrapper, OptimWrapperDict) else "a single one"
        raise ConfigError(
            f"{type(self).__name__} trains with the optimizers {', '.join(self.parts)}, got {found}; set optim_wrapper "
            f"as configs/_base_/models/{type(self).__name__.lower()}.py does, with "
            "constructor='medkit.PartsOptimWrapperConstructor'"
        )

    def update(self, optim_wrapper: OptimWrapper, losses_of: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """One step of an optimizer; what it does not hold stays as it is and collects no gradients.

        Args:
            optim_wrapper: of the part to train.
            losses_of: computes the losses, of which the first is the one to lower.

        Returns:
            The losses, detached and finite.
        """
        with _others_frozen(self, optim_wrapper):
            with optim_wrapper.optim_context(self):
                losses = losses_of()
            checked = self.check_losses(losses)
            optim_wrapper.update_params(next(iter(losses.values())))
        return checked


@contextmanager
def _others_frozen(model: nn.Module, optim_wrapper: OptimWrapper) -> Iterator[None]:
    own = {id(param) for group in optim_wrapper.param_groups for param in group["params"]}
    others = [param for param in model.parameters() if param.requires_grad and id(param) not in own]
    for param in others:
        param.requires_grad_(False)
    try:
        yield
    finally:
        for param in others:
            param.requires_grad_(True)


def difference_map(images: Tensor, rebuilt: Tensor) -> Tensor:
    """(B, H, W) in [0, 1]: half the absolute difference of (B, 3, H, W) images in [-1, 1], mean over channels."""
    return (images - rebuilt).abs().mean(dim=1) / 2
