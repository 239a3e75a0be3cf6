"""Augmentation of sparse maps: tiles keep their features, their positions are turned, mirrored, zoomed and shifted.

Tissue lies on the glass in any direction, so a slide's label is the same for all these maps. Positions are changed
before they become cells, from which the neighbourhoods differ a little each time.

SparseConvMIL (PMLR 156:129-139), section 3.2: rotation over the circle, independent flips, zoom of each axis in
[0.7, 1.3], translation. The released code also augments at test time; `SparseConvMIL` here does so in training only.
Command: ``python -m pytest tests/models/mil/test_sparse_map.py``.
"""

import math

import torch
from torch import Tensor

from medkit.errors import ConfigError


def transform_positions(xy: Tensor, angle: Tensor, flip: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Positions (..., 2) as float64: (xy - shift) R(angle) diag(flip) diag(zoom), with row vectors.

    Args:
        xy: positions (..., 2).
        angle: (...) radians, R = [[cos, -sin], [sin, cos]].
        flip: (..., 2) of 1 and -1.
        zoom: (..., 2) factors.
        shift: (..., 2) in the unit of ``xy``.
    """
    x, y = (xy.double() - shift).unbind(-1)
    cos, sin = angle.double().cos(), angle.double().sin()
    turned = torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1)
    return turned * flip * zoom


class MapAugmentation:
    """A random transformation for each slide of a batch; the same for all its tiles.

    Args:
        rotation: turn by an angle from the whole circle.
        flip: mirror each axis with probability one half.
        zoom: range of the factor of each axis, drawn independently.
        shift: largest shift of each axis, in cells. It matters below one cell only: which tiles share a cell.

    Raises:
        ConfigError: ``zoom`` is no range of positive numbers, or ``shift`` is negative.
    """

    def __init__(
        self,
        rotation: bool = True,
        flip: bool = True,
        zoom: tuple[float, float] = (0.7, 1.3),
        shift: float = 1.0,
    ) -> None:
        if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1] < math.inf or not 0 <= shift < math.inf:
            raise ConfigError(
                f"MapAugmentation: zoom={zoom}, shift={shift}; give zoom as (smallest, largest) factors above 0, such "
                "as (0.7, 1.3), and a shift >= 0 in cells"
            )
        self.rotation, self.flip, self.zoom, self.shift = rotation, flip, zoom, shift

    def __call__(self, xy: Tensor, cell: float, generator: torch.Generator | None = None) -> Tensor:
        """Positions (B, K, 2) in the unit of ``cell``, as float64, each slide transformed in its own way.

        Random numbers come from the CPU, so that a seed means the same on every device.
        """
        slides = len(xy)
        draw = torch.rand(slides, 7, generator=generator, dtype=torch.float64).to(xy.device)
        angle = draw[:, :1] * (2 * math.pi if self.rotation else 0)  # (B, 1)
        flip = 1 - 2 * (draw[:, None, 1:3] < 0.5).double() * self.flip  # (B, 1, 2)
        zoom = self.zoom[0] + (self.zoom[1] - self.zoom[0]) * draw[:, None, 3:5]
        shift = draw[:, None, 5:7] * self.shift * cell
        return transform_positions(xy, angle, flip, zoom, shift)
