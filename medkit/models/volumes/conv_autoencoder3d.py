"""3-D convolutional autoencoder whose code can learn a metric: 1 x 80 x 96 x 80 voxels become 150 numbers.

Onga et al., "Efficient feature embedding of 3D brain MRI images for content-based image retrieval with deep metric
learning", arXiv 1912.01824. The layer widths were never published; these are derived from the published sizes: four
halvings leave 5 x 6 x 5 positions, and one channel of them is the code. Each number of the code so belongs to a block
of 16^3 voxels, in the order (channel, D, H, W).
Command: ``python tools/train.py configs/cae3d_metric_brain_phantom.py``.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.common import DistanceSoftmaxLoss, check_losses
from medkit.models.volumes.anchors import split_anchors
from medkit.models.volumes.conv3d import VolumeDecoder, VolumeEncoder
from medkit.models.volumes.reconstruction import ReconstructionLoss
from medkit.models.volumes.resample import UPSAMPLING
from medkit.registry import MODELS

INIT = {"type": "Kaiming", "layer": ["Conv3d", "Linear"], "mode": "fan_in"}


@MODELS.register_module()
class ConvAutoencoder3D(BaseModel):
    """Autoencoder of volumes (B, 1, D, H, W) in [0, 1]; with ``alpha`` > 0 its codes are drawn to class anchors.

    Training minimises the reconstruction error plus ``alpha`` times `DistanceSoftmaxLoss`. With metric learning (or an
    entropy term) the last ``num_classes * anchors_per_class`` items of a training batch are the anchors, in class order
    (`medkit.AnchorBatchSampler`); they pass the encoder together with the others but are not reconstructed. Items with
    label -1 are reconstructed and, with ``entropy_weight``, made to decide for a class.

    Args:
        channels: of the stages, each of which halves every side. The default has 294 433 parameters in each half.
        convs_per_stage: convolutions before each halving, and after each doubling.
        code_channels: channels of the code at the lowest resolution.
        code_dim: length of the code if fully connected layers make it, which ties the model to ``input_size``; None:
            convolutions make it.
        input_size: (D, H, W); also the size at which `decode` unfolds codes by default.
        num_classes: classes of the metric term.
        alpha: weight of the metric term; 0 is the plain autoencoder. `medkit.RampValueHook` can let it rise.
        anchors_per_class, power, temperature: see `DistanceSoftmaxLoss`.
        entropy_weight: weight of the entropy of unlabelled items.
        reconstruction: arguments of `ReconstructionLoss`.
        checkpointing: compute activations again in the backward pass instead of keeping them.
        output: 'linear', or 'sigmoid' for outputs in (0, 1).
        upsample: 'trilinear' or 'nearest'.
        init_cfg: default: He's, with which codes differ from the start. With torch's own they hardly do, and where all
            distances are nearly 0 the metric term has hardly a gradient.

    Raises:
        ConfigError: arguments that contradict each other, volumes whose sides the stages cannot halve, a batch
            without anchors.
        DatasetError: labels, subjects or volumes that do not fit; see also `VolumeDataPreprocessor`.
        TrainingError: a loss is NaN or infinite.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_stage: int = 1,
        code_channels: int = 1,
        code_dim: int | None = None,
        input_size: Sequence[int] | None = None,
        num_classes: int = 0,
        alpha: float = 0.0,
        anchors_per_class: int = 1,
        power: int = 2,
        temperature: float = 1.0,
        entropy_weight: float = 0.0,
        reconstruction: dict | None = None,
        checkpointing: bool = False,
        output: str = "linear",
        upsample: str = "trilinear",
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or {"type": "medkit.VolumeDataPreprocessor"}, init_cfg or INIT)
        self.stride = 2 ** len(channels)
        self.alpha, self.entropy_weight, self.num_classes = alpha, entropy_weight, num_classes
        self.anchors_per_class, self.output = anchors_per_class, output
        self.learns_metric = alpha > 0 or entropy_weight > 0  # alpha itself may start at 0 and rise
        self._check_arguments(upsample, code_dim, input_size)
        self.input_size = None if input_size is None else self.checked_size(input_size)
        grid = None if self.input_size is None else self.grid(self.input_size)
        common = (tuple(channels), convs_per_stage, code_channels, code_dim, grid, checkpointing)
        self.fixed_grid = grid if code_dim is not None else None
        self.encoder, self.decoder = VolumeEncoder(*common), VolumeDecoder(*common, upsample)
        self.metric = DistanceSoftmaxLoss(power, temperature)
        self.reconstruction = ReconstructionLoss(**(reconstruction or {}))

    def encode(self, volumes: Tensor) -> Tensor:
        """Codes (B, K) float32 of volumes (B, 1, D, H, W)."""
        size = self.checked_size(volumes.shape[2:])
        if self.fixed_grid not in (None, self.grid(size)):
            raise ConfigError(
                f"volumes are {size}, but code_dim ties the model to input_size={self.input_size}; resample them, or "
                "set code_dim=None"
            )
        return self.encoder(volumes)

    def decode(self, codes: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Volumes (B, 1, D, H, W) of codes (B, K); ``size`` is (D, H, W), by default ``input_size``."""
        size = size or self.input_size
        if size is None:
            raise ConfigError("decode() needs the size of the volumes: give size=(D, H, W), or model.input_size")
        volumes = self.decoder(codes, self.grid(self.checked_size(size)))
        return volumes.sigmoid() if self.output == "sigmoid" else volumes

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor") -> Any:
        """Losses, codes or predictions of preprocessed volumes (B, 1, D, H, W).

        Args:
            inputs: as `VolumeDataPreprocessor` returns them; in mode 'loss' with the anchors at the end.
            data_samples: one per volume, for 'loss' (with metric learning) and 'predict'.
            mode: 'loss' returns a dictionary; 'tensor' codes (B, K); 'predict' the data samples, each with ``code``
                ((K,) float32) and ``reconstruction`` ((D, H, W) float32), on the CPU.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "tensor":
            return self.encode(inputs)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ConfigError(f"ConvAutoencoder3D: mode={mode!r}; give 'loss', 'tensor' or 'predict'")

    def loss(self, inputs: Tensor, data_samples: list | None) -> dict[str, Tensor]:
        """Losses of a training batch, and ``metric_nearest``, the share of codes nearest to their class's anchor."""
        size = inputs.shape[2:]
        if not self.learns_metric:
            return {"loss_recon": self.reconstruction(self.decode(self.encode(inputs), size), inputs)}
        labels = split_anchors(data_samples, len(inputs), self.num_classes, self.anchors_per_class).to(inputs.device)
        codes = self.encode(inputs)  # (B + C * A, K): one pass, gradients through both
        codes, anchors = codes[: len(labels)], codes[len(labels) :]
        anchors = anchors.unflatten(0, (self.num_classes, self.anchors_per_class))  # (C, A, K)
        losses = {
            "loss_recon": self.reconstruction(self.decode(codes, size), inputs[: len(labels)]),
            "loss_metric": self.alpha * self.metric(codes, labels, anchors),
        }
        known = labels >= 0
        if self.entropy_weight:
            losses["loss_entropy"] = self.entropy_weight * self.metric.entropy(codes[~known], anchors)
        if known.any():
            nearest = self.metric.log_prob(codes.detach()[known], anchors.detach()).argmax(dim=1)
            losses["metric_nearest"] = (nearest == labels[known]).float().mean()
        return losses

    def predict(self, inputs: Tensor, data_samples: list | None) -> list:
        """The data samples with ``code`` and ``reconstruction``."""
        samples = data_samples or []
        if len(samples) != len(inputs):
            raise ConfigError(f"{len(inputs)} volumes came with {len(samples)} data samples, expected one per volume")
        codes = self.encode(inputs)  # (B, K)
        volumes = self.decode(codes, inputs.shape[2:])[:, 0]  # (B, D, H, W)
        results = (result.detach().float().cpu() for result in (codes, volumes))
        for sample, code, volume in zip(samples, *results, strict=True):
            sample.set_field(code, "code")
            sample.set_field(volume, "reconstruction")
        return samples

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As mmengine's, once all losses are finite."""
        check_losses(losses)
        return super().parse_losses(losses)

    def grid(self, size: Sequence[int]) -> tuple[int, ...]:
        """(d, h, w) of the code map of volumes of ``size``."""
        return tuple(side // self.stride for side in size)

    def checked_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """``size`` as a tuple; refused where a side cannot be halved in every stage."""
        if len(size) == 3 and all(side >= self.stride and side % self.stride == 0 for side in size):
            return tuple(size)
        near = tuple(max(round(side / self.stride), 1) * self.stride for side in size)
        stages, voxels = self.stride.bit_length() - 1, " x ".join(map(str, size))
        raise ConfigError(
            f"volumes of {voxels} voxels: the model's {stages} stages need sides that are multiples of {self.stride}; "
            f"set --cfg-options target_size='{near}', or fewer channels"
        )

    def _check_arguments(self, upsample: str, code_dim: int | None, input_size: Sequence[int] | None) -> None:
        if upsample not in UPSAMPLING or self.output not in ("linear", "sigmoid"):
            raise ConfigError(
                f"ConvAutoencoder3D: upsample={upsample!r}, output={self.output!r}; expected one of "
                f"{', '.join(UPSAMPLING)}, and 'linear' or 'sigmoid'"
            )
        if code_dim is not None and input_size is None:
            raise ConfigError(f"ConvAutoencoder3D: code_dim={code_dim} needs input_size=(D, H, W)")
        if self.alpha < 0 or self.entropy_weight < 0:
            raise ConfigError(
                f"ConvAutoencoder3D: alpha={self.alpha}, entropy_weight={self.entropy_weight}; expected 0 or more"
            )
        if self.learns_metric and (self.num_classes < 2 or self.anchors_per_class < 1):
            raise ConfigError(
                f"ConvAutoencoder3D: num_classes={self.num_classes}, anchors_per_class={self.anchors_per_class}; "
                "metric learning needs two classes or more, each with an anchor; alpha=0 switches it off"
            )
