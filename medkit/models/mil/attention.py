"""Attention scores of instances by a small network, plain or gated.

Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, equations 8 and 9, with the
biases that the released code has and the formulas have not. Command: ``python -m pytest tests/models/mil``.
"""

import torch
from torch import Tensor, nn


class AttentionScores(nn.Module):
    """``w tanh(V h)``, or gated ``w (tanh(V h) * sigmoid(U h))``: (B, K, M) to scores (B, H, K) before the softmax.

    Args:
        in_channels: M.
        hid_channels: L, rows of V and U.
        branches: H, rows of w.
        gated: with U.
        dropout: after tanh, and after sigmoid.
    """

    def __init__(
        self, in_channels: int, hid_channels: int = 128, branches: int = 1, gated: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.value = nn.Linear(in_channels, hid_channels)
        self.gate = nn.Linear(in_channels, hid_channels) if gated else None
        self.weight = nn.Linear(hid_channels, branches)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """Scores (B, H, K) of (B, K, M)."""
        hidden = self.dropout(torch.tanh(self.value(h)))  # (B, K, L)
        if self.gate is not None:
            hidden = hidden * self.dropout(torch.sigmoid(self.gate(h)))
        return self.weight(hidden).transpose(1, 2)
