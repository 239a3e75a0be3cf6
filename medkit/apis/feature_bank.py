"""Banks of features for giga-SSL: each draw shows some tiles of a slide under one augmentation, the same for all.

Lazard et al., "Giga-SSL", CVPRW 2023 (arXiv 2212.03273): random crop and zoom, colour jitter, grey, blur; no flips.
Command: ``python tools/feature_bank.py OUT --backbone resnet18 --stage 3 --checkpoint work_dirs/simsiam_slides``.
"""

import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medkit.apis.bag_features import Extracted, ReadTile, SlideTiles, is_extracted
from medkit.apis.tile_encoders import TileEncoder
from medkit.data.bank_files import Bank, write_bank
from medkit.engine.encoding import evaluating
from medkit.errors import ConfigError, DatasetError

__all__ = ["BankSettings", "augment_together", "encode_draws", "extract_banks"]

TILES_KEPT = 1024  # as read, in memory: a slide's tiles come again in other draws


@dataclass(frozen=True)
class BankSettings:
    """A draws of N tiles each, with replacement; ``seed`` of tiles and augmentations, which the slide's name joins."""

    draws: int = 25
    tiles: int = 25
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        """Refuse an empty bank."""
        if min(self.draws, self.tiles, self.threads) < 1:
            raise ConfigError(f"{self}; expected at least 1 draw, tile and thread")


def extract_banks(
    slides: Sequence[SlideTiles],
    folder: str | Path,
    encoder: TileEncoder,
    settings: BankSettings,
    overwrite: bool = False,
) -> Iterator[Extracted]:
    """Write ``folder/SLIDE.h5`` for every slide that has none; yields those. A slide that fails stops no other.

    Raises:
        DatasetError: a file is there but was made otherwise, and ``overwrite`` is not set; nothing is written then.
    """
    folder, todo = Path(folder), []
    for slide in slides:
        attributes = {**encoder.attributes(), "out_px": str(slide.out_px), "bank_seed": str(settings.seed)}
        rows = np.random.default_rng(_key(slide, settings)).integers(
            len(slide.coords), size=(settings.draws, settings.tiles)
        )
        coords = slide.coords[rows]  # (A, N, 2)
        if overwrite or not is_extracted(folder / f"{slide.slide_id}.h5", coords, attributes):
            todo.append((slide, coords, attributes))
    for slide, coords, attributes in todo:
        start = time.perf_counter()
        try:
            with slide.open() as read:
                features = encode_draws(encoder, read, coords, _key(slide, settings), settings.threads)
        except DatasetError as error:
            yield Extracted(slide.slide_id, fault=str(error))
            continue
        write_bank(folder / f"{slide.slide_id}.h5", Bank(features, coords, slide.side_px, augmented=True), attributes)
        yield Extracted(slide.slide_id, coords[..., 0].size, features.shape[2], time.perf_counter() - start)


def encode_draws(encoder: TileEncoder, read: ReadTile, coords: np.ndarray, key: tuple, threads: int = 2) -> np.ndarray:
    """Features (A, N, D) float32 of tiles at (A, N, 2), each draw under an augmentation that ``key`` decides.

    Raises:
        DatasetError: features are not finite; whatever ``read`` raises.
    """
    kept = lru_cache(TILES_KEPT)(read)
    device = next(encoder.module.parameters()).device
    mean, std = (torch.tensor(part, device=device).view(1, 3, 1, 1) for part in (encoder.mean, encoder.std))
    found = []
    with ThreadPoolExecutor(threads) as pool, evaluating(encoder.module), torch.random.fork_rng():
        for draw, places in enumerate(coords):
            tiles = np.stack(list(pool.map(lambda place: kept(int(place[0]), int(place[1])), places)))  # (N, H, W, 3)
            torch.manual_seed(int(np.random.SeedSequence((*key, draw)).generate_state(1, np.uint64)[0]))
            pixels = torch.from_numpy(tiles).to(device).permute(0, 3, 1, 2)
            images = augment_together(pixels) * 255
            found.append(encoder.module((images - mean) / std).float().cpu().numpy())  # (N, D)
    features = np.stack(found)
    if not np.isfinite(features.astype(np.float16)).all():
        raise DatasetError("features are not finite, or too large for float16; look at the checkpoint")
    return features


def augment_together(tiles: Tensor) -> Tensor:
    """Tiles (N, 3, H, W) uint8 under one random augmentation, the same for all; float32 in [0, 1]."""
    return _augmentation(tiles.shape[-1])(tiles)


@lru_cache
def _augmentation(side: int) -> Any:
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomResizedCrop(side, scale=(0.5, 1), antialias=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.2)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.0))], p=0.5),
        ]
    )


def _key(slide: SlideTiles, settings: BankSettings) -> tuple[int, int]:
    """What a slide's random numbers follow from: neither the other slides nor their order."""
    return settings.seed, zlib.crc32(slide.slide_id.encode())
