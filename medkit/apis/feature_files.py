"""What ``python tools/features.py`` does: features of a labelled set to files, a map of them, attention maps."""

import argparse
import csv

import numpy as np
import torch
from mmengine.config import Config

from medkit.apis.features import Encoder, build_encoder, extract_features
from medkit.apis.knn import labelled_set
from medkit.data.graded import SPLITS, UNKNOWN, GradedSet
from medkit.engine.encoding import ImageFiles
from medkit.engine.knn_probe import thinned
from medkit.errors import ConfigError, DatasetError
from medkit.visualization.attention import plot_attention
from medkit.visualization.embedding import plot_embedding

__all__ = ["draw_attention", "draw_map", "write_features"]


def write_features(cfg: Config, args: argparse.Namespace) -> tuple[Encoder, GradedSet, np.ndarray, np.ndarray]:
    """Encoder, set, rows of it that were taken (N,), and their features (N, D), which ``args.out`` holds.

    Raises:
        ConfigError, DatasetError, WeightsError: see `labelled_set`, `build_encoder`, `extract_features`.
    """
    graded = labelled_set(cfg)
    if not set(args.splits) <= set(SPLITS):
        raise DatasetError(f"splits {args.splits} of {graded.root}; expected some of {SPLITS}")
    args.img_size = args.img_size or cfg.get("img_size")
    if not isinstance(args.img_size, int) or args.img_size < 1:
        raise ConfigError(f"img_size is {args.img_size}; give the side of the images in pixels with --img-size")
    rows = np.flatnonzero(np.isin(graded.splits, args.splits))  # graded or not
    encoder = build_encoder(cfg, args.checkpoint, args.img_size, args.seed)
    files = [graded.files[i] for i in rows]
    features = extract_features(encoder, files, args.img_size, args.out, args.pool, num_workers=args.num_workers)
    with args.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "image", "patient", "split", "label"))
        for row, i in enumerate(rows):
            label = "" if graded.labels[i] == UNKNOWN else graded.classes[graded.labels[i]]
            writer.writerow((row, graded.files[i], graded.patients[i], graded.splits[i], label))
    return encoder, graded, rows, features


def draw_map(features: np.ndarray, graded: GradedSet, rows: np.ndarray, args: argparse.Namespace) -> None:
    """The features as points, to ``args.map``."""
    title = f"{args.config}, {args.checkpoint or 'as initialised'}: {len(rows)} images"
    labels, how = graded.labels[rows], dict(method=args.method, seed=args.seed, ordinal=graded.ordinal)
    plot_embedding(features, labels, graded.classes, title, args.map, **how)
    print(f"{args.map}: {args.method} of the features")


def draw_attention(encoder: Encoder, graded: GradedSet, rows: np.ndarray, args: argparse.Namespace) -> None:
    """Attention maps of ``args.num_images`` images, evenly drawn, to ``args.attention``."""
    chosen = thinned(rows, args.num_images)
    dataset = ImageFiles([graded.files[i] for i in chosen], args.img_size, encoder)
    images = torch.stack([dataset[i] for i in range(len(dataset))])  # (B, 3, H, W) normalised
    pixels = images.numpy().transpose(0, 2, 3, 1) * np.array(encoder.std) + np.array(encoder.mean)
    names = ["" if graded.labels[i] == UNKNOWN else graded.classes[graded.labels[i]] for i in chosen]
    shown = list(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
    title = f"attention of the class token, last block: {args.config}, {args.checkpoint or 'as initialised'}"
    plot_attention(shown, encoder.attention(images).numpy(), names, title, args.attention)
    print(f"{args.attention}: attention maps of {len(chosen)} images")
