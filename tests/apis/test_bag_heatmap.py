"""Heat maps of a model: its own attention in csv and GeoJSON, the thumbnail's scale, and what is refused."""

import csv
import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from medkit.apis.bag_forward import bag_dataset, bag_model, predict_bags
from medkit.apis.bag_heatmap import WITH_ATTENTION, heat_maps, slide_canvas
from medkit.apis.config import load_config
from medkit.data.bag_files import Bag, read_bag, write_bag
from medkit.errors import ConfigError, DatasetError
from medkit.models import mil
from medkit.registry import MODELS
from tests.bag_set import TILE_PX, WIDTH, write_bags, write_table

REPO = Path(__file__).resolve().parents[2]
SLIDE = "slide-001-0"  # of class1


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bags with one thumbnail, a 16th of the slide."""
    root = write_bags(tmp_path_factory.mktemp("slides"), cases=4)
    (root / "thumbnails").mkdir()
    cv2.imwrite(str(root / "thumbnails" / f"{SLIDE}.jpg"), np.full((256, 288, 3), 200, np.uint8))
    write_table(root / "slides.csv", [{"slide_id": SLIDE, "thumbnail_downsample": "16.0"}])
    return root


def is_head(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, mil.MILHead) and thing is not mil.MILHead


def config(root: Path, **options) -> Config:
    options = {"in_channels": WIDTH, "num_workers": 0, **options}
    return load_config(REPO / "configs/abmil_slides.py", data_root=root, cfg_options=options)


@pytest.fixture(scope="module")
def checkpoint(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "epoch_1.pth"
    torch.save({"state_dict": MODELS.build(config(root).model).state_dict(), "meta": {}}, path)
    return path


def test_numbers_are_the_models_attention(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    cfg, said = config(root), []
    heat_maps(cfg, checkpoint, tmp_path, slides=["slide-002-1", SLIDE], say=said.append)
    assert said[0].startswith("slide-002-1: class") and "no thumbnail" in said[0] and "labelled class1" in said[1]
    model, dataset = bag_model(cfg, checkpoint), bag_dataset(cfg)
    wanted = {one.slide_id: one for one in predict_bags(model, cfg, dataset)}
    for slide in ("slide-002-1", SLIDE):
        bag, prediction = read_bag(root / "features" / f"{slide}.h5"), wanted[slide]
        alone = model.head(torch.from_numpy(bag.features)[None]).attention[0].detach().numpy()
        rows = list(csv.DictReader((tmp_path / f"{slide}.csv").open()))
        assert [float(row["attention"]) for row in rows] == pytest.approx(alone.tolist(), abs=1e-6)
        assert prediction.attention == pytest.approx(alone, abs=1e-6)
        assert [[int(row["x"]), int(row["y"])] for row in rows] == bag.coords.tolist()
        features = json.loads((tmp_path / f"{slide}.geojson").read_text())["features"]
        assert [one["properties"]["measurements"]["attention"] for one in features] == pytest.approx(alone, abs=1e-6)
        corners = [one["geometry"]["coordinates"][0] for one in features]
        assert [ring[0] for ring in corners] == bag.coords.tolist() and corners[0][1][0] - corners[0][0][0] == TILE_PX
        assert cv2.imread(str(tmp_path / f"{slide}.png")).ndim == 3
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["slide_id"] for row in rows] == ["slide-002-1", SLIDE]


def test_the_thumbnail_has_its_own_scale(root: Path) -> None:
    canvas, note = slide_canvas(root, SLIDE, np.zeros((1, 2)), 512)
    assert canvas.image.shape == (256, 288, 3) and canvas.downsample == 16 and canvas.origin == (0, 0) and not note
    canvas, note = slide_canvas(root, "slide-000-0", np.array([[512, 1024]]), 512)
    assert canvas.origin == (512, 1024) and "no thumbnail slide-000-0.jpg" in note


def test_what_cannot_be_drawn_is_named(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no slide 'slide-001'; it has 8, such as 'slide-00"):
        heat_maps(config(root), checkpoint, tmp_path, slides=["slide-001"])
    with pytest.raises(ConfigError, match="top=2"):
        heat_maps(config(root), checkpoint, tmp_path, top=2)
    cfg = config(root)
    cfg.model.head = dict(type="medkit.PoolingMIL", in_channels=WIDTH, num_classes=2)
    other = tmp_path / "pooling.pth"
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, other)
    with pytest.raises(ConfigError, match=r"PoolingMIL has no attention.* ABMIL, AttentionMaxMIL"):
        heat_maps(cfg, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    bare = write_bags(tmp_path / "bare", cases=4)
    for file in (bare / "features").iterdir():
        write_bag(file, Bag(read_bag(file).features))
    with pytest.raises(DatasetError, match="has no coords"):
        heat_maps(config(bare), checkpoint, tmp_path)
    (bare / "thumbnails").mkdir()
    cv2.imwrite(str(bare / "thumbnails" / "a.jpg"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DatasetError, match="no thumbnail_downsample of a"):
        slide_canvas(bare, "a", np.zeros((1, 2)), 512)
    sizeless = write_bags(tmp_path / "sizeless", cases=4)
    for file in (sizeless / "features").iterdir():
        bag = read_bag(file)
        write_bag(file, Bag(bag.features, bag.coords))
    with pytest.raises(DatasetError, match="--side-px"):
        heat_maps(config(sizeless), checkpoint, tmp_path)
    found = heat_maps(config(sizeless), checkpoint, tmp_path / "given", slides=[SLIDE], side_px=256, say=lambda _: None)
    assert len(found) == 1 and (tmp_path / "given" / f"{SLIDE}.png").is_file()


@pytest.mark.parametrize("name", [name for name in mil.__all__ if is_head(getattr(mil, name))])
def test_the_list_of_heads_with_attention_is_true(name: str) -> None:
    more = {"SparseConvMIL": dict(cell=4), "TransMIL": dict(embed_channels=16)}.get(name, {})
    head = getattr(mil, name)(in_channels=WIDTH, num_classes=2, **more).eval()
    feats = torch.rand(1, 5, WIDTH, 2, 2) if head.takes_maps else torch.rand(1, 5, WIDTH)
    output = head(feats, coords=torch.arange(10.0).reshape(1, 5, 2))
    assert (output.attention is not None) == (name in WITH_ATTENTION)


def test_the_tool(root: Path, checkpoint: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def run(data_root: Path) -> None:
        options = ["--cfg-options", f"in_channels={WIDTH}", "num_workers=0", "--slides", SLIDE, "--top", "0.5"]
        given = ["configs/abmil_slides.py", str(checkpoint), "--data-root", str(data_root), "--out", str(tmp_path)]
        monkeypatch.setattr("sys.argv", ["heatmap.py", *given, *options])
        runpy.run_path(str(REPO / "tools/heatmap.py"), run_name="__main__")

    monkeypatch.chdir(REPO)
    run(root)
    assert f"1 slides written to {tmp_path}" in capsys.readouterr().out
    features = json.loads((tmp_path / f"{SLIDE}.geojson").read_text())["features"]
    assert len(features) == round(len(read_bag(root / "features" / f"{SLIDE}.h5")) / 2)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path)
    assert "error: " in (said := capsys.readouterr().err) and "bags.csv does not exist" in said
