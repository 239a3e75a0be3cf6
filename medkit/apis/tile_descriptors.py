"""Descriptors of tiles by a trained siamese network, scored beside an untrained one, mean colours and random numbers.

Command: ``python tools/benchmark_pathology.py CONFIG CHECKPOINT TILES``. Page: docs/pathology.md.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import MODELS, DefaultScope

from medkit.data.tile_pairs import PairMiner, all_pairs
from medkit.data.tile_table import TileTable
from medkit.data.transforms.loading import read_image
from medkit.engine.loading import load_whole
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.neighbours import all_neighbours
from medkit.evaluation.functional.retrieval import Addr, Retrieval, addr, retrieval_fractions
from medkit.models.selfsup import SpatialSiamese

EXACT_TILES = 2000  # per slide: up to here all pairs count, beyond they are sampled
RANKED = 20_000_000  # queries x tiles: up to here all tiles are ranked, beyond the first 100


@dataclass(frozen=True)
class Score:
    """One row of the benchmark; retrieval is None for tables without labels, by patient where those are not slides."""

    name: str
    dims: int
    addr: Addr
    by_slide: Retrieval | None
    by_patient: Retrieval | None


@dataclass(frozen=True)
class Pairs:
    """Near and far pairs (P, 2) on which ADDR is measured; ``exact``: all that there are."""

    near: np.ndarray
    far: np.ndarray
    exact: bool


def find_pairs(tiles: TileTable, near_mm: float, far_mm: float, count: int = 20_000, seed: int = 0) -> Pairs:
    """All pairs of small slides, or ``count`` of either kind from slides drawn uniformly."""
    centres = tiles.centres_mm()
    miner = PairMiner(tiles.slides, centres, near_mm, far_mm)  # names what is wrong with the table
    if np.unique(tiles.slides, return_counts=True)[1].max() <= EXACT_TILES:
        return Pairs(*all_pairs(tiles.slides, centres, near_mm, far_mm), exact=True)
    rng = np.random.default_rng(seed)
    return Pairs(miner.draw_many(count, True, rng), miner.draw_many(count, False, rng), exact=False)


def build_siamese(cfg: Config, checkpoint: str | Path | None, seed: int = 0) -> SpatialSiamese:
    """The network of the config, with the checkpoint's weights or as it is initialised.

    Raises:
        ConfigError: another model, or no ``test_pipeline``; WeightsError: the checkpoint is of another network.
    """
    if "test_pipeline" not in cfg:
        raise ConfigError(f"{cfg.filename} has no test_pipeline; take one of configs/spatial_siamese_*.py")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmpretrain")), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = MODELS.build(copy.deepcopy(cfg.model))
        if not isinstance(model, SpatialSiamese):
            raise ConfigError(f"{cfg.filename} builds a {type(model).__name__}; expected medkit.SpatialSiamese")
        if checkpoint is None:
            model.init_weights()
    if checkpoint is not None:
        load_whole(model, checkpoint)
    return model.eval()


@torch.no_grad()
def describe_tiles(
    model: SpatialSiamese, cfg: Config, files: list[str], slides: np.ndarray, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Average-pooled features (N, C) of the backbone and descriptors (N, D) of the whole network, float32."""
    pooled, described = [], []
    for inputs in _batches(cfg, files, slides, batch_size):
        images = model.data_preprocessor({"inputs": inputs, "data_samples": None})["inputs"]  # (B, 3, H, W)
        features = model.extract_feat(images)
        pooled.append(features[-1].mean(dim=(2, 3)))
        described.append(model.describe_features(features))
    return torch.cat(pooled).float().numpy(), torch.cat(described).numpy()


def _batches(cfg: Config, files: list[str], slides: np.ndarray, batch_size: int) -> Iterator[torch.Tensor]:
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmpretrain")):
        compose = Compose(cfg.test_pipeline)
    samples = [dict(img_path=file, slide=str(slide)) for file, slide in zip(files, slides, strict=True)]
    for start in range(0, len(samples), batch_size):
        part = [{"inputs": compose(sample)["inputs"]} for sample in samples[start : start + batch_size]]
        yield default_collate(part)["inputs"]


def mean_colours(files: list[str]) -> np.ndarray:
    """Mean blue, green and red (N, 3): what a descriptor has to beat that is said to know tissue."""
    return np.stack([read_image(file).reshape(-1, 3).mean(axis=0) for file in files])


def score(name: str, descriptors: np.ndarray, tiles: TileTable, pairs: Pairs, label: str | None) -> Score:
    """ADDR, and what the tiles of ``label`` find on other slides and among other patients.

    Raises:
        DatasetError: the descriptors have collapsed, or the table has no tile of the label, or only of it.
    """
    try:
        ratio = addr(descriptors, pairs.near, pairs.far, tiles.slides)
        if label is None or tiles.labels is None:
            return Score(name, descriptors.shape[1], ratio, None, None)
        queries = np.flatnonzero(tiles.labels == label)
        if not 0 < len(queries) < len(tiles):
            raise DatasetError(
                f"{len(queries)} of {len(tiles)} tiles of {tiles.source} have the label {label!r}; it has "
                f"{sorted(set(tiles.labels.tolist()))}; name one of several with --label"
            )
        by_slide = _retrieve(descriptors, queries, tiles.labels, tiles.slides)
        same = len(np.unique(tiles.patients)) == len(np.unique(tiles.slides))
        by_patient = None if same else _retrieve(descriptors, queries, tiles.labels, tiles.patients)
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from error
    return Score(name, descriptors.shape[1], ratio, by_slide, by_patient)


def _retrieve(descriptors: np.ndarray, queries: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Retrieval:
    exclude = (groups, groups[queries])
    if len(queries) * len(labels) <= RANKED:
        neighbours = all_neighbours(descriptors, descriptors[queries], len(labels), "l2", exclude)[1]
    else:
        from medkit.apis.neighbours import nearest

        neighbours = nearest(descriptors, descriptors[queries], 100, "l2", exclude)[1]
    return retrieval_fractions(neighbours, queries, labels, groups)


def benchmark_tiles(
    cfg: Config,
    checkpoint: str | Path | None,
    tiles: TileTable,
    pairs: Pairs,
    *,
    root: str | Path = "",
    label: str | None = "tumour",
    seed: int = 0,
) -> tuple[list[Score], np.ndarray]:
    """Score the checkpoint beside what knows less; returns the rows and the last network's descriptors (N, D).

    Without a checkpoint the untrained network is the last one.
    """
    if tiles.files is None:
        raise DatasetError(f"{tiles.source} names no image files; add a column file")
    files = [str(Path(root, file)) for file in tiles.files.tolist()]
    rng = np.random.default_rng(seed)
    networks = {"untrained": build_siamese(cfg, None, seed)}
    if checkpoint is not None:
        networks["trained"] = build_siamese(cfg, checkpoint)
    rows: dict[str, np.ndarray] = {}
    for name, network in networks.items():
        pooled, descriptors = describe_tiles(network, cfg, files, tiles.slides)
        rows |= {f"{name}, pooled features": pooled, f"{name}, descriptor": descriptors}
    rows = {"random numbers": rng.normal(size=descriptors.shape), "mean colour": mean_colours(files)} | rows
    return [score(name, values, tiles, pairs, label) for name, values in rows.items()], descriptors


def write_descriptors(folder: str | Path, tiles: TileTable, descriptors: np.ndarray, kind: str = "h5") -> list[Path]:
    """One file per slide with ``features`` (N, D) and ``coords`` (N, 2), as CLAM lays them out, h5 or npz.

    Raises:
        ConfigError: h5 without h5py, or another kind.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for slide in np.unique(tiles.slides):
        mine = tiles.slides == slide
        arrays = dict(features=descriptors[mine].astype(np.float32), coords=tiles.xy[mine].astype(np.int64))
        written.append(folder / f"{slide}.{kind}")
        if kind == "npz":
            np.savez(written[-1], features=arrays["features"], coords=arrays["coords"])
        else:
            _write_h5(written[-1], arrays, float(tiles.side[mine].max()))
    return written


def _write_h5(path: Path, arrays: dict[str, np.ndarray], side: float) -> None:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError("writing h5 needs h5py; run `pip install 'medkit[slides]'`, or choose npz") from error
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["coords"].attrs.update(patch_size=side, downsample=1.0, patch_level=0)
