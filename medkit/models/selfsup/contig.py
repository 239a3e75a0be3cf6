"""ContIG: images against what a table says of their subjects.

Source: Taleb et al., "ContIG: Self-supervised Multimodal Contrastive Learning for Medical Imaging with
Genetics" (CVPR 2022, arXiv 2111.13424). Its genetic scores are one case of a vector per subject; age, sex,
laboratory values or a diagnosis are others. See docs/contig.md.
Command: ``python tools/train.py configs/contig_busi.py --amp``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medkit.errors import ConfigError
from medkit.models.selfsup.cross_modal import cross_modal_nt_xent, projection, vector_encoder
from medkit.registry import MODELS


@MODELS.register_module()
class ContIG(BaseSelfSupervisor):
    """An image encoder trained so that an image finds the vectors of its subject among those of the batch.

    For each modality the image features have a projection of their own (``neck.NAME``), and the vectors an
    encoder and a projection (``head.NAME``). Samples carry ``vectors``: name -> (in_features,) float32,
    as `medkit.ImageVectors` gives them; a vector that holds a NaN counts as absent. The loss of a modality
    (``loss_NAME``) is that of the rows which have it, divided by the number of configured modalities.

    Args:
        backbone: config of the image encoder; its last feature map is average-pooled.
        modalities: name -> ``dict(in_features=..., encoder='H1')``; see `vector_encoder` for the kinds.
        feat_channels: channels of the backbone's last feature map; also the width of the image projections.
        hid_channels: width of the vector encoders and of their projections.
        out_channels: size of the space that images and vectors share.
        temperature: of the softmax.
        alpha: weight of the direction image -> vector.
        gather: contrast with the rows of all processes, not only with those of the own one (the release).
        legacy: as the release, pass absent vectors as zeros through the vector encoder, where they shift the
            statistics of its batch norm. For comparison with it only.
        data_preprocessor: as for `BaseSelfSupervisor`.
        init_cfg: as for `BaseSelfSupervisor`.

    Raises:
        ConfigError: no modality, an unknown encoder, or vectors of another length than configured.
    """

    def __init__(
        self,
        backbone: dict,
        modalities: Mapping[str, Mapping],
        *,
        feat_channels: int = 2048,
        hid_channels: int = 2048,
        out_channels: int = 128,
        temperature: float = 0.1,
        alpha: float = 0.75,
        gather: bool = False,
        legacy: bool = False,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not modalities:
            raise ConfigError("ContIG: modalities is empty; give name=dict(in_features=..., encoder='H1')")
        if temperature <= 0 or not 0 <= alpha <= 1:
            raise ConfigError(f"ContIG: temperature={temperature}, alpha={alpha}; expected > 0 and 0 to 1")
        self.temperature, self.alpha = temperature, alpha
        self.out_channels, self.gather, self.legacy = out_channels, gather, legacy
        self.in_features = {name: int(settings["in_features"]) for name, settings in modalities.items()}
        self.neck = nn.ModuleDict(
            {name: projection(feat_channels, feat_channels, out_channels) for name in modalities}
        )
        self.head = nn.ModuleDict()
        for name, settings in modalities.items():
            encoder, width = vector_encoder(
                settings.get("encoder", "H1"), self.in_features[name], hid_channels
            )
            hidden = projection(width, hid_channels, out_channels)
            self.head[name] = nn.Sequential(encoder, hidden)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_NAME`` of each modality for (B, 3, H, W) images."""
        return self.losses(inputs, self._stack(data_samples, inputs.device))

    def losses(self, inputs: Tensor, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `loss`, from (B, 3, H, W) images and name -> (B, in_features), absent rows holding NaN."""
        features = self.backbone(inputs)[-1].mean(dim=(2, 3))  # (B, feat_channels)
        losses = {}
        for name, values in vectors.items():
            present = ~values.isnan().any(dim=1)  # (B,)
            z_image = self.neck[name](features)  # (B, out_channels)
            z_vector, present = self.embed_vectors(name, values, present)  # (B, out_channels), (B,)
            if self.gather and get_world_size() > 1:
                z_image, z_vector = _Gather.apply(z_image.float()), _Gather.apply(z_vector.float())
                present = torch.cat(all_gather(present.contiguous()))
            losses[f"loss_{name}"] = self._contrast(z_image, z_vector, present) / len(self.in_features)
        return losses

    def embed_vectors(self, name: str, values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, out_channels) of (B, in_features) vectors, and which rows (B,) have one.

        Rows that are not present stay 0. A lone row in front of a batch norm that trains has no embedding.
        """
        if self.legacy:
            return self.head[name](values.nan_to_num()), present
        rows = values[present]  # (P, in_features)
        if not self._can_encode(name, len(rows)):
            return _zeros(self.head[name], len(values), self.out_channels), torch.zeros_like(present)
        encoded = self.head[name](rows)
        whole = encoded.new_zeros(len(values), self.out_channels)
        return whole.masked_scatter(present[:, None], encoded), present

    def _contrast(self, z_image: Tensor, z_vector: Tensor, present: Tensor) -> Tensor:
        """The loss over the rows that are present; 0, in reach of all parameters, where they are under two."""
        if present.sum() < 2:
            return 0 * (z_image.float().sum() + z_vector.float().sum())
        return cross_modal_nt_xent(
            z_image[present], z_vector[present], temperature=self.temperature, alpha=self.alpha
        )

    def _can_encode(self, name: str, rows: int) -> bool:
        """Batch norm in training needs two rows; synchronised, all processes must come, even with none."""
        norms = [module for module in self.head[name].modules() if isinstance(module, _BatchNorm)]
        if self.training and any(isinstance(norm, nn.SyncBatchNorm) for norm in norms):
            return True
        return rows >= (2 if self.training and norms else 1)

    def _stack(self, data_samples: list[DataSample], device: torch.device) -> dict[str, Tensor]:
        stacked = {}
        for name, expected in self.in_features.items():
            if name not in data_samples[0].vectors:
                raise ConfigError(
                    f"ContIG: the samples have no vector {name!r}, only {sorted(data_samples[0].vectors)}; "
                    "name the same modalities in model.modalities and in the data set's vectors"
                )
            found = len(data_samples[0].vectors[name])
            if found != expected:
                raise ConfigError(
                    f"ContIG: vectors {name!r} have {found} features, the model expects {expected}; set "
                    f"model.modalities.{name}.in_features={found} (num_features={found} where the config has it)"
                )
            rows = [torch.as_tensor(sample.vectors[name]) for sample in data_samples]
            stacked[name] = torch.stack(rows).to(device, torch.float32, non_blocking=True)
        return stacked


def _zeros(module: nn.Module, rows: int, columns: int) -> Tensor:
    """Zeros that depend on every parameter of ``module``, so that no process leaves one without gradient."""
    nothing = sum(parameter.sum() for parameter in module.parameters()) * 0
    return nothing + torch.zeros(rows, columns, device=next(module.parameters()).device)


class _Gather(torch.autograd.Function):
    """Rows of all processes, the gradient flowing back to each.

    mmpretrain's `GatherLayer` returns a row's gradient from the own process alone. Here every process computes
    the whole loss, so a row collects the gradient once per process; data-parallel training averages over the
    processes, which leaves the gradient of the whole loss.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """(B, C) to (world_size * B, C)."""
        return torch.cat(all_gather(rows.contiguous()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The part of the own rows, summed over the processes."""
        total = grad.contiguous().clone()
        all_reduce(total)
        return total.chunk(get_world_size())[get_rank()]
