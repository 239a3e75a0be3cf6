"""The encoder of a pre-training, and features of image files, written to a file that a killed run goes on with.

    encoder = build_encoder(load_config('configs/simsiam_busi.py'), 'work_dirs/simsiam_busi')
    features = extract_features(encoder, files, img_size=128, out='features.npy')      # (N, D) float32

Command: ``python tools/features.py configs/simsiam_busi.py work_dirs/simsiam_busi features.npy``.
"""

import copy
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from medkit.engine.checkpoint import load_backbone
from medkit.engine.encoding import Encoder, encode_files, encoder_of
from medkit.errors import DatasetError, WeightsError

__all__ = [
    "Encoder",
    "build_encoder",
    "encoder_of",
    "extract_features",
    "fingerprint",
    "hash_weights",
    "preprocessing",
    "quiet",
]


def build_encoder(cfg: Config, checkpoint: str | Path | None, img_size: int | None = None, seed: int = 0) -> Encoder:
    """The trained encoder of a pre-training config.

    Args:
        cfg: what `load_config` returned.
        checkpoint: file or run folder; ``None`` takes the network as it is initialised.
        img_size: side of the images to come, where it is not the config's: the position embedding of a Vision
            Transformer is resized to it bicubically.
        seed: of the initialisation.

    Raises:
        ConfigError: the model has no ``backbone``, or reads its images as BGR.
        WeightsError: see `load_backbone`; or the position embedding is that of another image size.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmpretrain")), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = MODELS.build(copy.deepcopy(cfg.model))
        if checkpoint is None:
            with quiet():
                model.init_weights()
        encoder = encoder_of(model, cfg)
    if checkpoint is not None:
        report = load_backbone(encoder.backbone, checkpoint)
        if "pos_embed" in report.missing:
            raise WeightsError(
                f"{checkpoint}: its position embedding is of another image size than the config's (img_size="
                f"{cfg.get('img_size')}); give the config that it was trained with, and the size you want as img_size"
            )
    if img_size is not None and encoder.is_vit:
        _resize_positions(encoder.backbone, img_size)
    return encoder.eval()


def extract_features(
    encoder: Encoder,
    files: Sequence[str | Path],
    img_size: int,
    out: str | Path | None = None,
    pool: str = "knn",
    batch_size: int = 64,
    num_workers: int = 1,
) -> np.ndarray:
    """Features of image files, resized to a square of ``img_size``.

    Args:
        encoder: what `build_encoder` returned.
        files: paths of images.
        img_size: side in pixels.
        out: an ``.npy`` file for the features. A json beside it says what they are of. Where it is there already it
            is read, and where a killed run left a part of it (``OUT.part``) the rest is made.
        pool: see `Encoder.forward`.
        batch_size: images at a time.
        num_workers: processes that read images; 0 reads in this one.

    Returns:
        (N, D) float32.

    Raises:
        DatasetError: ``files`` is empty, a file cannot be read, or ``out`` is of other images or another encoder.
    """
    names = [str(file) for file in files]
    if not names:
        raise DatasetError("no image to take features of; look at the data root and the split")
    if out is None:
        return np.concatenate(list(encode_files(encoder, names, img_size, pool, batch_size, num_workers)))
    store = _Store(Path(out), fingerprint(encoder, names, img_size, pool), (len(names), encoder.dims[pool]))
    return store.fill(encode_files(encoder, names[store.done :], img_size, pool, batch_size, num_workers))


def fingerprint(encoder: Encoder, files: Sequence[str], img_size: int, pool: str) -> dict[str, str]:
    """What features depend on: ``weights``, ``preprocessing`` and ``images`` (names, sizes, times of change)."""
    root = os.path.commonpath([Path(file).resolve().parent for file in files])
    images = hashlib.sha256()
    for file in files:
        path = Path(file).resolve()
        if not path.is_file():
            raise DatasetError(f"image {file} does not exist; run data_prep again, or look at the data root")
        stat = path.stat()
        images.update(repr((os.path.relpath(path, root), stat.st_size, stat.st_mtime_ns)).encode())
    settings = preprocessing(encoder, img_size, pool)
    return {"weights": hash_weights(encoder), "preprocessing": settings, "images": images.hexdigest()}


def hash_weights(module: nn.Module) -> str:
    """SHA-256 of names and values of all parameters and buffers."""
    weights = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return weights.hexdigest()


def preprocessing(encoder: Encoder, img_size: int, pool: str) -> str:
    """What happens to an image before the encoder, and to its output, as text."""
    return repr((img_size, pool, encoder.mean, encoder.std, sorted(encoder.loading.items())))


class _Store:
    """``OUT.npy`` and ``OUT.json``; while it grows, ``OUT.npy.part`` and the number of rows done in the json."""

    def __init__(self, out: Path, key: dict[str, str], shape: tuple[int, int]) -> None:
        if out.suffix != ".npy":
            raise DatasetError(f"features are written as .npy, but the file is {out}; give a name that ends in .npy")
        self.out, self.key, self.shape = out, key, shape
        self.part, self.notes = out.with_name(f"{out.name}.part"), out.with_suffix(".json")
        self.done = self._read_done()

    def fill(self, batches: Iterator[np.ndarray]) -> np.ndarray:
        """Write what is missing; a kill at any point leaves whole rows that count."""
        if not self.out.is_file():
            self.out.parent.mkdir(parents=True, exist_ok=True)
            mode = "r+" if self.done else "w+"
            rows = np.lib.format.open_memmap(self.part, mode, np.float32, self.shape)
            self._write_notes()
            for batch in batches:
                rows[self.done : self.done + len(batch)] = batch
                rows.flush()
                self.done += len(batch)
                self._write_notes()
            del rows
            self.part.replace(self.out)
        return np.load(self.out)

    def _read_done(self) -> int:
        exists = [path for path in (self.out, self.part) if path.is_file()]
        if not exists:
            return 0
        try:
            notes = json.loads(self.notes.read_text(encoding="utf-8"))
            found, done = notes["fingerprint"], int(notes["done"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{exists[0]} is there, but {self.notes} does not say what it is of ({error}); delete it, or "
                "name another file"
            ) from error
        other = [name for name, value in self.key.items() if found.get(name) != value]
        if other:
            raise DatasetError(
                f"{exists[0]} holds features of other {' and '.join(other)}; delete it, or name another file"
            )
        return self.shape[0] if self.out.is_file() else done

    def _write_notes(self) -> None:
        draft = self.notes.with_name(f".{self.notes.name}.part")
        draft.write_text(json.dumps({"fingerprint": self.key, "done": self.done, "shape": self.shape}, indent=1) + "\n")
        draft.replace(self.notes)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the line that mmengine says for each parameter it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _resize_positions(backbone: Any, img_size: int) -> None:
    from mmpretrain.models.utils import resize_pos_embed

    patch = backbone.patch_embed.projection.kernel_size
    grid = (img_size // patch[0], img_size // patch[1])
    if grid == tuple(backbone.patch_resolution):
        return
    extra = backbone.num_extra_tokens
    resized = resize_pos_embed(backbone.pos_embed.data, backbone.patch_resolution, grid, "bicubic", extra)
    backbone.pos_embed = nn.Parameter(resized, requires_grad=backbone.pos_embed.requires_grad)
    backbone.patch_resolution = backbone.patch_embed.init_out_size = grid
    backbone.img_size = (img_size, img_size)
