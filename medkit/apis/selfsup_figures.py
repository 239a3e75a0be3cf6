"""Pictures beside a benchmark's table: t-SNE of each method's features, attention of its Vision Transformer.

Drawn by ``python tools/benchmark_selfsup.py ... --figures`` for the first encoder of each method.
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import numpy as np

from medkit.apis.feature_files import draw_attention, draw_map
from medkit.apis.selfsup_protocol import Run
from medkit.data.graded import UNKNOWN, GradedSet
from medkit.engine.encoding import Encoder

__all__ = ["draw_figures"]

_NUM_IMAGES = 6  # rows of attention maps


def draw_figures(
    run: Run, encoder: Encoder, graded: GradedSet, features: np.ndarray, img_size: int, folder: str | Path
) -> None:
    """Write ``tsne_METHOD.png`` of all graded images and, for a transformer, ``attention_METHOD.png`` of test images.

    Args:
        run: what is drawn.
        encoder: of the run; it ends on the CPU.
        graded: the set.
        features: ``(N, D)`` of all images.
        img_size: side of the images.
        folder: to write to.
    """
    name = re.sub(r"[^\w.-]+", "_", run.name)
    args = Namespace(config=run.name, checkpoint=run.label, method="tsne", seed=0, img_size=img_size)
    args.map, args.attention = (Path(folder) / f"{kind}_{name}.png" for kind in ("tsne", "attention"))
    args.num_images = _NUM_IMAGES
    rows = np.flatnonzero(graded.labels != UNKNOWN)
    draw_map(features[rows], graded, rows, args)
    if encoder.is_vit:
        draw_attention(encoder.cpu(), graded, graded.rows("test"), args)
