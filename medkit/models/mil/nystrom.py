"""Nystrom attention: self-attention through landmarks, its cost linear in the number of tokens.

Xiong et al., "Nystromformer: A Nystrom-Based Algorithm for Approximating Self-Attention", AAAI 2021 (arXiv
2102.03902), section 3, in the arrangement of the package nystrom-attention. Command: ``python -m pytest
tests/models/mil/test_transmil.py``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.masking import wide


def iterative_pinv(matrix: Tensor, iterations: int = 6) -> Tensor:
    """Approximate pseudo-inverse (..., H, m, m) by the third-order iteration of Razavi et al.; no SVD.

    The start is divided by the greatest row sum times the greatest column sum over an item's heads. The package takes
    the maxima over the whole batch, so that its answer for a bag depends a little on the bags beside it.
    """
    sums = matrix.abs()
    scale = sums.sum(-1).amax((-2, -1)) * sums.sum(-2).amax((-2, -1))  # (...)
    z = matrix.transpose(-1, -2) / scale[..., None, None, None]
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations):
        az = matrix @ z
        z = 0.25 * z @ (13 * one - az @ (15 * one - az @ (7 * one - az)))
    return z


class NystromAttention(nn.Module):
    """Multi-head self-attention (B, n, C) to (B, n, C) through m landmarks, the means of segments of tokens.

    Tokens are filled up on the left with zeros to a multiple of m, as in the package; these take part in softmax and
    means. The n x m and m x n products run in `scaled_dot_product_attention`; no n x n matrix exists.

    Args:
        channels: C.
        num_heads: H.
        head_channels: channels of a head.
        num_landmarks: m.
        pinv_iterations: steps of the pseudo-inverse.
        kernel_size: of the depthwise convolution of the values along the tokens, added to the result; odd.
        dropout: after the output projection.
        published_padding: return the first n of the filled-up tokens and not the last: the fault of nystrom-attention
            0.0.9 and older, which shifts all tokens; to reproduce results that were trained with it.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int = 8,
        head_channels: int = 64,
        num_landmarks: int = 256,
        pinv_iterations: int = 6,
        kernel_size: int = 33,
        dropout: float = 0.0,
        published_padding: bool = False,
    ) -> None:
        super().__init__()
        if min(num_heads, head_channels, num_landmarks, pinv_iterations) < 1 or kernel_size % 2 == 0:
            raise ConfigError(
                f"NystromAttention: num_heads={num_heads}, head_channels={head_channels}, num_landmarks="
                f"{num_landmarks}, pinv_iterations={pinv_iterations}, kernel_size={kernel_size}; expected 1 or more "
                "of each, and an odd kernel"
            )
        self.num_heads, self.num_landmarks, self.pinv_iterations = num_heads, num_landmarks, pinv_iterations
        self.scale, self.published_padding = head_channels**-0.5, published_padding
        inner = num_heads * head_channels
        self.qkv = nn.Linear(channels, 3 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, channels), nn.Dropout(dropout))
        self.conv = nn.Conv2d(
            num_heads, num_heads, (kernel_size, 1), padding=(kernel_size // 2, 0), groups=num_heads, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, C) of (B, n, C)."""
        tokens = x.shape[1]
        q, k, v = self._qkv(x)  # (B, H, p + n, c) each
        q_mark, k_mark, inverse = self._landmarks(q, k)
        inner = F.scaled_dot_product_attention(q_mark, k, v, scale=1.0)  # (B, H, m, c)
        inner = inverse @ inner.to(inverse.dtype)
        result = F.scaled_dot_product_attention(q, k_mark, inner.to(q.dtype), scale=1.0)  # (B, H, p + n, c)
        result = (result + self.conv(v)).transpose(1, 2).flatten(2)  # (B, p + n, H c)
        result = self.out(result)
        return result[:, :tokens] if self.published_padding else result[:, result.shape[1] - tokens :]

    @torch.no_grad()
    def attention_of_first(self, x: Tensor) -> Tensor:
        """Row (B, H, n) of the approximate attention matrix that belongs to the token ``x[:, 0]``.

        Rows of the approximation may have small negative entries; zeros filled in on the left are cut off. One head
        at a time, because m x n numbers of 8 heads are the largest array of all.
        """
        tokens = x.shape[1]
        q, k, _ = self._qkv(x)
        q_mark, k_mark, inverse = self._landmarks(q, k)
        with torch.autocast(x.device.type, enabled=False):
            first = wide(q)[:, :, 0 if self.published_padding else q.shape[2] - tokens][:, :, None]  # (B, H, 1, c)
            to_marks = (first @ wide(k_mark).transpose(-1, -2)).softmax(-1) @ inverse  # (B, H, 1, m)
            rows = [
                to_marks[:, head] @ (wide(q_mark)[:, head] @ wide(k)[:, head].transpose(-1, -2)).softmax(-1)
                for head in range(self.num_heads)
            ]
        return torch.cat(rows, dim=1)[..., k.shape[2] - tokens :]

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.pad(x, (0, 0, -x.shape[1] % self.num_landmarks, 0))  # zeros on the left
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, p + n, c) each
        return q * self.scale, k, v

    def _landmarks(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks (B, H, m, c) of queries and keys, and the pseudo-inverse of their attention, in float32."""
        q_mark, k_mark = (x.unflatten(2, (self.num_landmarks, -1)).mean(dim=3) for x in (q, k))
        with torch.autocast(q.device.type, enabled=False):
            attention = (wide(q_mark) @ wide(k_mark).transpose(-1, -2)).softmax(-1)  # (B, H, m, m)
            return q_mark, k_mark, iterative_pinv(attention, self.pinv_iterations)
