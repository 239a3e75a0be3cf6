"""Pairs of tiles from image files, drawn anew in each epoch, for self-supervision on slides.

Gildenblat and Klaiman, "Self-Supervised Similarity Learning for Digital Pathology", arXiv 1905.08139.
Command: ``python tools/train.py configs/spatial_siamese_slides.py``.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import Compose
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from torch.utils.data import Dataset

from medkit.data.tile_pairs import PairMiner
from medkit.data.tile_table import Mpp, TileTable, read_tiles
from medkit.errors import DatasetError
from medkit.registry import DATASETS


@DATASETS.register_module()
class TilePairs(Dataset):
    """Near and far pairs in turn, of slides drawn uniformly. Labels are not read.

    A sample is ``dict(img_path=[first, second], slide, similar, sample_idx)`` before the pipeline. Each rank sees near
    and far pairs alternate, so a batch has as many of either, as long as the sampler does not shuffle
    (``DefaultSampler(shuffle=False)``; which tiles a sample holds is random anyway). Pairs come from NumPy's global
    generator, which `medkit.EpochSeedHook` seeds by run, epoch, rank and worker.

    Args:
        table: tiles of the training slides under ``data_root``: csv, CLAM h5 or a folder of those (`read_tiles`).
        data_root: folder.
        data_prefix: ``dict(img='tiles/')``, folder of the image files under ``data_root``.
        pipeline: transforms.
        near_mm: pairs closer than this are similar.
        far_mm: pairs farther apart than this are dissimilar.
        near_px: with ``far_px`` the limits in pixels of level 0, in place of millimetres; mpp is then not needed.
        far_px: see ``near_px``.
        exclude_overlap: near partners share no pixel with the tile.
        pairs_per_epoch: length of the data set; None: as many as there are tiles.
        min_tissue: tiles with a smaller ``tissue`` are left out; a column of the table.
        held_out: tables under ``data_root`` whose slides and patients must not be in training; absent ones are skipped.
        mpp: as the next ones, see `read_tiles`.
        tile_px: see `read_tiles`.
        level_downsamples: see `read_tiles`.
        file_template: see `read_tiles`.
        indices: at most so many pairs per epoch (quick mode).

    Raises:
        DatasetError: a file is missing, mpp is not known, no pair of one kind, or a held-out slide among the tiles.
    """

    def __init__(
        self,
        table: str,
        *,
        data_root: str = "",
        data_prefix: Mapping[str, str] | None = None,
        pipeline: Sequence[dict] = (),
        near_mm: float = 2.0,
        far_mm: float = 10.0,
        near_px: float | None = None,
        far_px: float | None = None,
        exclude_overlap: bool = False,
        pairs_per_epoch: int | None = None,
        min_tissue: float | None = None,
        held_out: Sequence[str] = ("val.csv", "test.csv"),
        mpp: Mpp | Mapping[str, Mpp] | None = None,
        tile_px: int | None = None,
        level_downsamples: Sequence[float] | None = None,
        file_template: str | None = None,
        indices: int | None = None,
    ) -> None:
        self.data_root, self.folder = Path(data_root), Path(data_root, (data_prefix or {}).get("img", ""))
        read = functools.partial(read_tiles, tile_px=tile_px, level_downsamples=level_downsamples)
        tiles = read(self.data_root / table, mpp=mpp, file_template=file_template)
        for other in held_out:
            if (self.data_root / other).is_file():
                _refuse_held_out(tiles, read(self.data_root / other))
        self.tiles = _with_tissue(tiles, min_tissue)
        self.files = self._existing_files()
        if (near_px is None) != (far_px is None):
            raise DatasetError(f"near_px={near_px}, far_px={far_px}; give both or neither")
        in_px = near_px is not None
        centres = self.tiles.centres_px() if in_px else self.tiles.centres_mm()
        sides = np.repeat(self.tiles.side[:, None], 2, axis=1) if in_px else self.tiles.sides_mm()
        near = near_mm if near_px is None else near_px
        far = far_mm if far_px is None else far_px
        self.miner = PairMiner(self.tiles.slides, centres, near, far, sides if exclude_overlap else None)
        print_log(f"TilePairs: {self.miner.report}", logger="current")
        self.length = pairs_per_epoch or len(self.tiles)
        self.length = self.length if indices is None else min(self.length, indices)
        self.world_size = get_world_size()
        self.pipeline = Compose(list(pipeline))
        self.metainfo: dict = {}  # mmengine asks for it

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        similar = (index // self.world_size) % 2 == 0  # the sampler deals indices to the ranks in turn
        rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))
        pair = self.miner.draw(similar, rng)
        sample = dict(img_path=[self.files[i] for i in pair], slide=str(self.tiles.slides[pair[0]]))
        return self.pipeline(sample | dict(similar=similar, sample_idx=index))

    def _existing_files(self) -> list[str]:
        if self.tiles.files is None:
            raise DatasetError(
                f"{self.tiles.source} names no image files; add a column file, or give "
                "file_template='tiles/{slide}/{x}_{y}.png'; medkit does not cut tiles out of slides"
            )
        files = [str(self.folder / name) for name in self.tiles.files.tolist()]
        absent = [file for file in files if not Path(file).is_file()]
        if absent:
            raise DatasetError(
                f"{len(absent)} of {len(files)} tiles of {self.tiles.source} are not there (first: {absent[0]}); check "
                "data_root, data_prefix.img and the column file"
            )
        return files


def _with_tissue(tiles: TileTable, min_tissue: float | None) -> TileTable:
    if min_tissue is None:
        return tiles
    if tiles.tissue is None:
        raise DatasetError(f"{tiles.source} has no column tissue, so min_tissue={min_tissue} cannot be applied; add it")
    keep = tiles.tissue >= min_tissue
    if not keep.any():
        raise DatasetError(f"no tile of {tiles.source} is {min_tissue:.0%} tissue; lower min_tissue")
    return tiles.take(keep)


def _refuse_held_out(tiles: TileTable, other: TileTable) -> None:
    for what, names, taboo in (
        ("slides", tiles.slides, other.slides),
        ("patients", tiles.patients, other.patients),
    ):
        if shared := set(names.tolist()) & set(taboo.tolist()):
            raise DatasetError(
                f"{len(shared)} {what} of {tiles.source} are held out by {other.source} (first: {min(shared)}); take "
                "them out of the training table, or set held_out=[]"
            )
