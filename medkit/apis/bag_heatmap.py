"""Where a classifier of slides looks: a heat map of each, GeoJSON for QuPath, and every tile's attention as a csv.

Attention is what the head weighs tiles with. It is no proof that a tile is of the class: with instance labels
`medkit.BagMetric` measures how far it is. Command: ``python tools/heatmap.py CONFIG CHECKPOINT --out DIR``.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from torch.utils.data import Subset

from medkit.apis.bag_forward import bag_dataset, bag_model, bag_table, predict_bags
from medkit.data.bag_files import Bag, read_bag
from medkit.data.bag_table import BagTable
from medkit.data.transforms.loading import read_image
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.bag_predictions import BagPrediction, write_bag_predictions
from medkit.evaluation.functional.bags import instance_auc
from medkit.evaluation.tables import write_csv
from medkit.visualization.figures import save_figure
from medkit.visualization.heatmap import (
    Canvas,
    attention_ranks,
    canvas_of_tiles,
    paint_tiles,
    plot_heatmap,
    tiles_geojson,
)

__all__ = ["HeatMap", "heat_maps", "slide_canvas", "write_heat_map"]

WITH_ATTENTION = ("ABMIL", "AttentionMaxMIL", "CLAM", "DSMIL", "MaxInstanceMIL", "SequenceMIL", "TransMIL")


@dataclass(frozen=True)
class HeatMap:
    """One slide: what the model says, its bag, its picture, and a word on the picture where there is one."""

    prediction: BagPrediction
    bag: Bag
    side_px: float
    canvas: Canvas
    note: str


def heat_maps(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    slides: Sequence[str] = (),
    top: float = 1.0,
    side_px: float | None = None,
    say: Callable[[str], None] = print,
) -> list[BagPrediction]:
    """Write ``SLIDE.png``, ``SLIDE.geojson`` and ``SLIDE.csv`` of each slide, and predictions.csv, to ``out``.

    Args:
        cfg: of `load_config`, of a head with attention.
        checkpoint: file or run folder.
        out: folder.
        slides: names; none: all of the set.
        top: share of the tiles in the GeoJSON, those of the highest attention.
        side_px: side of a tile in pixels of level 0, where the files do not say.
        say: gets a line for each slide.

    Raises:
        ConfigError: the head has no attention, the bags are no slides, ``top`` is no share.
        DatasetError: an unknown slide; no coordinates or no size of the tiles.
        WeightsError: the checkpoint is missing or does not fit.
    """
    if not 0 < top <= 1:
        raise ConfigError(f"top={top}; expected a share of the tiles in (0, 1]")
    table = bag_table(cfg)
    if not table.files or not Path(table.files[0]).is_file():
        raise ConfigError(f"{cfg.filename} reads images, which have no place on a slide; take one of medkit.BagDataset")
    rows = _rows(table, slides)
    model = bag_model(cfg, resolve_checkpoint(checkpoint))
    bags = Subset(bag_dataset(cfg, cache_mb=0, max_instances=None), rows.tolist())
    found = []
    for row, prediction in zip(rows, predict_bags(model, cfg, bags), strict=True):
        if prediction.attention is None:
            raise ConfigError(
                f"{type(model.head).__name__} has no attention, so there is nothing to draw; heads that have: "
                f"{', '.join(WITH_ATTENTION)}"
            )
        drawn = _heat_map(prediction, table.files[row], Path(table.root), side_px)
        write_heat_map(Path(out), drawn, table.classes, top)
        say(f"{_said(prediction, table.classes)}{f'; {drawn.note}' if drawn.note else ''}")
        found.append(prediction)
    write_bag_predictions(Path(out) / "predictions.csv", found, table.classes)
    return found


def write_heat_map(out: Path, drawn: HeatMap, classes: Sequence[str], top: float = 1.0) -> None:
    """The three files of a slide."""
    out.mkdir(parents=True, exist_ok=True)
    name, attention, bag = drawn.prediction.slide_id, drawn.prediction.attention, drawn.bag
    assert attention is not None and bag.coords is not None
    ranks = attention_ranks(attention)
    painted = paint_tiles(drawn.canvas, bag.coords, drawn.side_px, ranks)
    truth = None
    if bag.instance_labels is not None:
        truth = paint_tiles(drawn.canvas, bag.coords, drawn.side_px, (bag.instance_labels == 1).astype(float))
    figure = plot_heatmap(drawn.canvas, painted, _said(drawn.prediction, classes), truth, drawn.note)
    save_figure(figure, out / f"{name}.png")
    content = tiles_geojson(bag.coords, drawn.side_px, attention, ranks, top)
    (out / f"{name}.geojson").write_text(json.dumps(content), encoding="utf-8")
    columns = [bag.coords[:, 0], bag.coords[:, 1], attention, ranks]
    head = ["x", "y", "attention", "rank"]
    if bag.instance_labels is not None:
        head, columns = [*head, "instance_label"], [*columns, bag.instance_labels]
    write_csv(out / f"{name}.csv", [head, *zip(*(column.tolist() for column in columns), strict=True)])


def slide_canvas(root: Path, slide: str, coords: np.ndarray, side_px: float) -> tuple[Canvas, str]:
    """The slide's thumbnail, or an empty canvas of the tiles' extent and a word that says so.

    Raises:
        DatasetError: there is a thumbnail, but slides.csv does not say how much smaller than the slide it is.
    """
    path = root / "thumbnails" / f"{slide}.jpg"
    if not path.is_file():
        return canvas_of_tiles(coords, side_px), f"no thumbnail {path.name}: the tiles' extent alone"
    table = root / "slides.csv"
    told = _column(table, "thumbnail_downsample").get(slide) if table.is_file() else None
    if not told:
        raise DatasetError(
            f"{table} has no thumbnail_downsample of {slide}, so tiles cannot be laid over {path}; write it as "
            "`python -m data_prep slides` does, or take the thumbnail away"
        )
    image = read_image(path)
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    return Canvas(image, float(told)), ""


def _column(table: Path, name: str) -> dict[str, str]:
    """A column of slides.csv by slide."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        return {row["slide_id"]: row.get(name) or "" for row in csv.DictReader(file) if row.get("slide_id")}


def _rows(table: BagTable, slides: Sequence[str]) -> np.ndarray:
    """Rows of the named slides in their order; all of none."""
    ids = table.ids.tolist()
    unknown = [slide for slide in slides if slide not in ids]
    if unknown:
        near = difflib.get_close_matches(unknown[0], ids, n=1) or ids[:1]
        raise DatasetError(f"{table.root} has no slide {unknown[0]!r}; it has {len(ids)}, such as {near[0]!r}")
    return np.array([ids.index(slide) for slide in dict.fromkeys(slides)] or range(len(ids)))


def _heat_map(prediction: BagPrediction, file: str, root: Path, side_px: float | None) -> HeatMap:
    bag = read_bag(file)
    if bag.coords is None:
        raise DatasetError(f"{file} has no coords, so its tiles have no place; CLAM's h5 has them, its pt does not")
    side = side_px or bag.side_px
    if side is None:
        raise DatasetError(
            f"{file} does not say how large its tiles are (patch_size_level0 of coords); give --side-px, in pixels of "
            "level 0"
        )
    assert prediction.attention is not None and len(prediction.attention) == len(bag)
    return HeatMap(prediction, bag, side, *slide_canvas(root, prediction.slide_id, bag.coords, side))


def _said(prediction: BagPrediction, classes: Sequence[str]) -> str:
    """slide: tumour .93 (labelled tumour), and how well attention finds the instances where they are known."""
    called = int(prediction.scores.argmax())
    text = f"{prediction.slide_id}: {classes[called]} {prediction.scores[called]:.3f}"
    if prediction.label >= 0:
        text += f" (labelled {classes[prediction.label]})"
    if prediction.tells_instances:
        found = instance_auc([prediction.attention], [prediction.instance_labels])  # type: ignore[list-item]
        text += f", instance AUC {found.mean:.3f}" if found.num_bags else ""
    return text
