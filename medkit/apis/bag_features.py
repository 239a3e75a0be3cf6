"""Features of slides' tiles: read as they are needed, encoded in batches, written as bags (medkit/data/bag_files.py).

    encoder = open_tile_encoder('resnet18', 'work_dirs/simsiam_slides')
    features = encode_tiles(encoder, read, coords)       # (N, D); read(x, y) gives a tile
    for done in extract_bags(slides, 'features', encoder):      # a SlideTiles each; files are written as they are ready
        print(done.slide_id, done.tiles, done.width, done.fault)

Command: ``python tools/slide_features.py OUT --backbone resnet18 --checkpoint work_dirs/simsiam_slides``.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medkit.apis.tile_encoders import TileEncoder
from medkit.data.bag_files import Bag, write_bag
from medkit.data.bag_formats import h5py_for
from medkit.engine.encoding import evaluating
from medkit.errors import ConfigError, DatasetError

ReadTile = Callable[[int, int], np.ndarray]  # corner (x, y) in level-0 pixels to (H, W, 3) uint8 RGB


@dataclass(frozen=True)
class SlideTiles:
    """The tiles of a slide, and how to read them.

    Attributes:
        slide_id: names the file of features.
        coords: (N, 2) corners (x, y) in pixels of level 0.
        side_px: of a tile in these pixels.
        mpp: micrometres per such pixel.
        out_px: side of a tile as it is read.
        open: gives the reader of tiles as long as it is open; what is wrong with a slide is a DatasetError there.
        instance_labels: (N,) of 1, 0, -1, or None; they go along.
    """

    slide_id: str
    coords: np.ndarray
    side_px: int
    mpp: float
    out_px: int
    open: Callable[[], AbstractContextManager[ReadTile]]
    instance_labels: np.ndarray | None = None


@dataclass(frozen=True)
class ExtractSettings:
    """Tiles at a time; whether to store, and on a GPU to compute, in float16; threads that read."""

    batch_size: int = 64
    half: bool = False
    threads: int = 2

    def __post_init__(self) -> None:
        if min(self.batch_size, self.threads) < 1:
            raise ConfigError(f"batch size {self.batch_size}, threads {self.threads}; expected at least 1")


@dataclass(frozen=True)
class Extracted:
    """What became of a slide: ``tiles`` features of ``width``, or the ``fault`` for which it has none."""

    slide_id: str
    tiles: int = 0
    width: int = 0
    seconds: float = 0.0
    fault: str = ""


def extract_bags(
    slides: Sequence[SlideTiles],
    folder: str | Path,
    encoder: TileEncoder,
    settings: ExtractSettings | None = None,
    overwrite: bool = False,
) -> Iterator[Extracted]:
    """Write ``folder/SLIDE.h5`` for every slide that has none; yields those. A slide that fails stops no other.

    Raises:
        DatasetError: a file is there but was made otherwise, and ``overwrite`` is not set; nothing is written then.
    """
    settings, folder, weights = settings or ExtractSettings(), Path(folder), encoder.attributes()
    todo = []
    for slide in slides:
        attributes = {**weights, "out_px": str(slide.out_px), "precision": "half" if settings.half else "single"}
        if overwrite or not is_extracted(folder / f"{slide.slide_id}.h5", slide.coords, attributes):
            todo.append((slide, attributes))
    for slide, attributes in todo:
        start = time.perf_counter()
        try:
            with slide.open() as read:
                features = encode_tiles(encoder, read, slide.coords, settings)
        except DatasetError as error:
            yield Extracted(slide.slide_id, fault=str(error))
            continue
        bag = Bag(features, slide.coords, slide.side_px, slide.mpp, slide.instance_labels)
        write_bag(folder / f"{slide.slide_id}.h5", bag, attributes)
        yield Extracted(slide.slide_id, len(features), features.shape[1], time.perf_counter() - start)


def encode_tiles(
    encoder: TileEncoder,
    read: ReadTile,
    coords: np.ndarray,
    settings: ExtractSettings | None = None,
) -> np.ndarray:
    """Features (N, D) of tiles, float32, or float16 where half precision is asked for; on the encoder's device.

    Args:
        encoder: what `open_tile_encoder` returned.
        read: gives the tile at a corner; it is called from several threads.
        coords: (N, 2) corners (x, y).
        settings: see `ExtractSettings`.

    Raises:
        DatasetError: features are not finite; whatever ``read`` raises.
    """
    settings, module = settings or ExtractSettings(), encoder.module
    half = settings.half
    device = next(module.parameters()).device
    mean, std = (torch.tensor(part, device=device).view(1, 3, 1, 1) for part in (encoder.mean, encoder.std))
    found = []
    with evaluating(module), torch.autocast(device.type, torch.float16, enabled=half and device.type == "cuda"):
        for images in _batches(read, coords, settings.batch_size, settings.threads):
            pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)  # (B, 3, H, W) uint8
            found.append(module((pixels - mean) / std).float().cpu().numpy())
    features = np.concatenate(found)
    with np.errstate(over="ignore"):  # what float16 cannot hold is named below
        features = features.astype(np.float16) if half else features
    if not np.isfinite(features).all():
        raise DatasetError(
            "features are not finite; " + ("extract them without half precision" if half else "look at the checkpoint")
        )
    return features


def _batches(read: ReadTile, coords: np.ndarray, size: int, threads: int) -> Iterator[np.ndarray]:
    """(B, H, W, 3) uint8; the next batch is read while the one before is computed on."""
    with ThreadPoolExecutor(threads) as pool:

        def start(first: int) -> list[Future]:
            return [pool.submit(read, int(x), int(y)) for x, y in coords[first : first + size]]

        ahead = start(0)
        for first in range(0, len(coords), size):
            now, ahead = ahead, start(first + size)
            yield np.stack([tile.result() for tile in now])


def is_extracted(path: str | Path, coords: np.ndarray, attributes: Mapping[str, str]) -> bool:
    """Whether a file of features is there, of these tiles and made in this way; a checkpoint may have moved.

    Raises:
        DatasetError: it is there, but of other tiles or made otherwise, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        return False
    try:
        with h5py_for(path).File(path) as file:
            found = {name: file.attrs.get(name, "unknown") for name in attributes if name != "weights"}
            same_tiles = "coords" in file and np.array_equal(file["coords"][:], coords)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error}); delete it, or make it anew with --overwrite") from error
    other = [f"{name} {was:.60} -> {attributes[name]:.60}" for name, was in found.items() if was != attributes[name]]
    other += [] if same_tiles else ["other tiles"]
    if other:
        raise DatasetError(
            f"{path} was made otherwise ({'; '.join(other)}); make it anew with --overwrite, or name another folder "
            "with --features"
        )
    return True
