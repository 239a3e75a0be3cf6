"""One vector per slide by a trained giga-SSL model, from many random handfuls of its tiles.

Lazard et al., "Giga-SSL", CVPRW 2023 (arXiv 2212.03273): R bags of K tiles, drawn with replacement, each embedded,
averaged. K and the cell of the map are those of the training: the checkpoint tells them, and others are refused.
Command: ``python tools/slide_embeddings.py CONFIG CHECKPOINT OUT.npz --data-root data/slides``.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from medkit.apis.embedding_files import Embeddings, write_embeddings
from medkit.data.bag_rows import FOLDERS
from medkit.data.bank_files import Bank
from medkit.data.feature_bank import FeatureBankDataset, draw_bag
from medkit.engine.encoding import evaluating
from medkit.engine.loading import load_whole
from medkit.engine.reading import read_checkpoint
from medkit.errors import ConfigError
from medkit.models.mil import GigaSSL
from medkit.registry import DATASETS, MODELS

__all__ = ["average_features", "embed_slides", "open_gigassl", "write_slide_embeddings"]

AT_ONCE = 64  # bags


def open_gigassl(cfg: Config, checkpoint: str | Path, *, other_bags: bool = False) -> GigaSSL:
    """The config's model with the weights of the checkpoint, on a GPU where there is one.

    Args:
        cfg: of the training; a run folder holds the one with its options resolved.
        checkpoint: file or run folder.
        other_bags: take the config's K and cell although the checkpoint was trained with others.

    Raises:
        ConfigError: another model, or K or cell differ from the checkpoint's.
        WeightsError: the checkpoint is missing, or does not fit.
    """
    with DefaultScope.overwrite_default_scope("mmengine"):
        model = MODELS.build(copy.deepcopy(cfg.model))
    if not isinstance(model, GigaSSL):
        raise ConfigError(f"{cfg.filename} is of {type(model).__name__}; expected a config of medkit.GigaSSL")
    content = read_checkpoint(checkpoint)
    trained = content.get("state_dict", content).get("trained_with", model.trained_with)
    if not other_bags and not torch.equal(trained, model.trained_with):
        (tiles, cell), (own_tiles, own_cell) = trained.tolist(), model.trained_with.tolist()
        raise ConfigError(
            f"{checkpoint} was trained with {tiles:.0f} tiles and cells of {cell:g}, the config says {own_tiles:.0f} "
            f"and {own_cell:g}; give the config of its run folder, or --cfg-options num_tiles={tiles:.0f} "
            f"cell={cell:g}; with --other-bags it is embedded in a way that it was not trained for"
        )
    load_whole(model, checkpoint)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def embed_slides(
    model: GigaSSL, slides: FeatureBankDataset, *, bags: int = 50, groups: bool = False, seed: int = 0
) -> np.ndarray:
    """Embeddings (N, E) float32.

    Args:
        model: what `open_gigassl` returned.
        slides: where the features are; ordinary bags as a rule: a bank's are augmented.
        bags: R; of each slide.
        groups: as the authors' later package has it: up to K R tiles without replacement, in groups of K, the mean
            scaled to length 1.
        seed: of the tiles, which the slide's name joins: neither the other slides nor their order matter.

    Raises:
        ConfigError: ``bags`` is below 1.
    """
    if bags < 1:
        raise ConfigError(f"--bags {bags}; expected 1 or more")
    device, found = next(model.parameters()).device, []
    with evaluating(model), torch.inference_mode():
        for index, name in enumerate(slides.slides.ids):
            rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
            parts = _bags(slides.bank(index), slides.num_tiles, bags, groups, slides.with_coords, rng)
            batches = [{key: value.to(device) for key, value in part.items()} for part in parts]
            mean = torch.cat([model.embed(batch) for batch in batches]).double().mean(dim=0)  # (E,)
            found.append((torch.nn.functional.normalize(mean, dim=0) if groups else mean).float().cpu().numpy())
    return np.stack(found)


def _bags(
    bank: Bank, size: int, count: int, groups: bool, with_coords: bool, rng: np.random.Generator
) -> Iterator[dict[str, Tensor]]:
    """Batches of bags; a slide of fewer tiles than a group makes one smaller bag."""
    draws, tiles = bank.features.shape[:2]
    if groups:
        order = rng.permutation(tiles)[: size * count]
        rows = order[: len(order) // size * size].reshape(-1, size) if len(order) >= size else order[None]  # (R, K)
    else:
        rows = rng.integers(tiles, size=(count, size))
    chosen = rng.integers(draws, size=len(rows))
    each = [draw_bag(bank, int(draw), row, with_coords) for draw, row in zip(chosen, rows, strict=True)]
    for start in range(0, len(each), AT_ONCE):
        some = each[start : start + AT_ONCE]
        yield {key: torch.stack([bag[key] for bag in some]) for key in some[0]}


def average_features(slides: FeatureBankDataset) -> np.ndarray:
    """Mean (N, D) float32 of all features of each slide: what embeddings have to beat."""
    banks = (slides.bank(index).features for index in range(len(slides)))  # (A, N, D) each
    return np.stack([features.mean((0, 1), dtype=np.float64).astype(np.float32) for features in banks])


def write_slide_embeddings(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    data_root: str | None = None,
    features: str | None = None,
    split: str | None = None,
    other_bags: bool = False,
    average: str | Path | None = None,
    **how: Any,
) -> Iterator[str]:
    """Embed the slides of a folder and write; yields a line for each file.

    Args:
        cfg: of the training.
        checkpoint: file or run folder.
        out: .npz or .parquet.
        data_root: bag folder; None: the config's.
        features: folder in it; None: that of ordinary bags, where there is one.
        split: slides of this split alone; None: all.
        other_bags: see `open_gigassl`.
        average: also write the `average_features`, here.
        how: see `embed_slides`.
    """
    model = open_gigassl(cfg, checkpoint, other_bags=other_bags)
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    root = data_root or dataset.data_root
    plain = features or next((name for name in FOLDERS if Path(root, name).is_dir()), None)
    dataset.update(data_root=root, folder=plain, split=split, feature_dropout=0)
    slides = DATASETS.build(dataset)
    made = f"{cfg.filename}, {checkpoint}: K {slides.num_tiles}, {how}"
    parts = [(out, embed_slides(model, slides, **how), made)]
    if average is not None:
        parts.append((average, average_features(slides), "mean of the features"))
    for path, vectors, said in parts:
        ids, cases = np.array(slides.slides.ids), np.array(slides.slides.cases)
        write_embeddings(path, Embeddings(ids, cases, vectors, said))
        yield f"{path}: {vectors.shape[0]} slides, {vectors.shape[1]} numbers each: {said}"
