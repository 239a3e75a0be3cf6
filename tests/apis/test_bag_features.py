"""Features of tiles: the network's own, whatever the batches; encoders by name and checkpoint; files taken up again."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medkit.apis.bag_features import ExtractSettings, SlideTiles, encode_tiles, extract_bags
from medkit.apis.tile_encoders import TileEncoder, open_tile_encoder
from medkit.data.bag_files import read_bag
from medkit.errors import ConfigError, DatasetError, WeightsError

h5py = pytest.importorskip("h5py")
THIN = {"model.backbone.base_channels": 8, "model.backbone.stem_channels": 8}
COORDS = np.stack([np.arange(7), np.arange(7) * 10], axis=1)


def read(x: int, y: int) -> np.ndarray:
    """A tile that only its place decides, (32, 32, 3)."""
    return np.random.default_rng((x, y)).integers(0, 256, (32, 32, 3), dtype=np.uint8)


class Corner(nn.Module):
    """The first pixel of an image, times a weight."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, 0, 0] * self.weight


def corner(weight: float = 1.0) -> TileEncoder:
    return TileEncoder(Corner(weight), "corner", "by hand", (10.0, 20.0, 30.0), (2.0, 4.0, 5.0))


def tiles(name: str = "a", coords: np.ndarray = COORDS, fault: str = "") -> SlideTiles:
    @contextmanager
    def opened():
        if fault:
            raise DatasetError(fault)
        yield read

    labels = np.where(np.arange(len(coords)) < 2, 1, -1).astype(np.int8)
    return SlideTiles(name, coords, 64, 0.25, 32, opened, labels)


def thin(*args: object, **how: object) -> TileEncoder:
    return open_tile_encoder("resnet18", *args, options=THIN, device="cpu", **how)


@pytest.fixture(scope="module")
def resnet() -> TileEncoder:
    return thin(untrained=3)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_features_are_the_networks_in_the_order_of_the_tiles(batch_size: int) -> None:
    found = encode_tiles(corner(), read, COORDS, ExtractSettings(batch_size, threads=3))
    wanted = (np.stack([read(x, y)[0, 0] for x, y in COORDS]) - np.array([10, 20, 30])) / np.array([2, 4, 5])
    assert found.dtype == np.float32 and np.allclose(found, wanted, rtol=1e-6)


def test_half_is_stored_as_float16_and_its_overflow_is_named() -> None:
    half = ExtractSettings(half=True)
    assert encode_tiles(corner(), read, COORDS, half).dtype == np.float16
    with pytest.raises(DatasetError, match="without half precision"):
        encode_tiles(corner(1e6), read, COORDS, half)


def test_files_hold_features_places_labels_and_how_they_were_made(tmp_path: Path) -> None:
    (done,) = extract_bags([tiles()], tmp_path / "features", corner())
    assert (done.slide_id, done.tiles, done.width, done.fault) == ("a", 7, 3, "")
    bag = read_bag(tmp_path / "features/a.h5")
    assert np.array_equal(bag.features, encode_tiles(corner(), read, COORDS))
    assert np.array_equal(bag.coords, COORDS) and (bag.side_px, bag.mpp) == (64, 0.25)
    assert bag.instance_labels is not None and bag.instance_labels.tolist() == [1, 1, -1, -1, -1, -1, -1]
    with h5py.File(tmp_path / "features/a.h5") as file:
        attrs = dict(file.attrs)
    assert attrs["encoder"] == "corner" and attrs["weights"] == "by hand" and len(attrs["weights_sha256"]) == 64
    assert attrs["normalisation"] == "RGB 0 to 255, mean [10.0, 20.0, 30.0], std [2.0, 4.0, 5.0]"
    assert (attrs["out_px"], attrs["precision"]) == ("32", "single")


def test_a_second_run_makes_only_what_is_missing(tmp_path: Path) -> None:
    assert [one.slide_id for one in extract_bags([tiles("a")], tmp_path, corner())] == ["a"]
    stamp = (tmp_path / "a.h5").stat().st_mtime_ns
    assert [one.slide_id for one in extract_bags([tiles("a"), tiles("b")], tmp_path, corner())] == ["b"]
    assert (tmp_path / "a.h5").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("encoder", "coords", "half", "says"),
    [
        (corner(2.0), COORDS, False, "weights_sha256"),
        (corner(), COORDS[:5], False, "other tiles"),
        (corner(), COORDS, True, "precision single -> half"),
    ],
)
def test_a_file_made_otherwise_is_refused_before_anything_is_made(
    tmp_path: Path, encoder: TileEncoder, coords: np.ndarray, half: bool, says: str
) -> None:
    list(extract_bags([tiles("b")], tmp_path, corner()))
    slides, settings = [tiles("a"), tiles("b", coords)], ExtractSettings(half=half)
    with pytest.raises(DatasetError, match=rf"b\.h5 was made otherwise.*{says}.*--overwrite"):
        list(extract_bags(slides, tmp_path, encoder, settings))
    assert not (tmp_path / "a.h5").exists()
    assert len(list(extract_bags(slides, tmp_path, encoder, settings, overwrite=True))) == 2
    assert len(read_bag(tmp_path / "b.h5")) == len(coords)


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    list(extract_bags([tiles()], tmp_path, corner()))
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"a\.h5 cannot be read"):
        list(extract_bags([tiles()], tmp_path, corner()))


def test_a_slide_that_fails_stops_no_other_and_leaves_no_file(tmp_path: Path) -> None:
    found = list(extract_bags([tiles("a", fault="a.svs is broken"), tiles("b")], tmp_path, corner()))
    assert [one.fault for one in found] == ["a.svs is broken", ""]
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]


def test_untrained_networks_are_their_seeds(resnet: TileEncoder) -> None:
    again, other = (thin(untrained=seed) for seed in (3, 4))
    hashes = [encoder.attributes()["weights_sha256"] for encoder in (resnet, again, other)]
    assert hashes[0] == hashes[1] != hashes[2] and resnet.weights == "untrained, seed 3"
    assert encode_tiles(resnet, read, COORDS[:2]).shape == (2, 64)


def test_a_stage_is_the_average_of_its_map(resnet: TileEncoder) -> None:
    third = thin(untrained=3, stage=3)
    assert third.name.startswith("resnet18, stage 3, ") and not hasattr(third.module.backbone, "layer4")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole = resnet.module.backbone
        x = whole.maxpool(whole.relu(whole.norm1(whole.conv1(images))))
        wanted = whole.layer3(whole.layer2(whole.layer1(x))).mean(dim=(2, 3))  # (2, 32)
        assert torch.allclose(third.module(images), wanted, atol=1e-6)
    with pytest.raises(ConfigError, match="no stage 5; its stages are 1 to 4"):
        thin(untrained=3, stage=5)


def test_weights_come_from_a_checkpoint_under_any_prefix(tmp_path: Path, resnet: TileEncoder) -> None:
    state = {f"model.encoder.{name}": value for name, value in resnet.module.backbone.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    loaded = thin(tmp_path / "w.pth")
    assert loaded.weights == str(tmp_path / "w.pth")
    assert np.array_equal(encode_tiles(loaded, read, COORDS[:2]), encode_tiles(resnet, read, COORDS[:2]))
    with pytest.raises(WeightsError):
        open_tile_encoder("resnet18", tmp_path / "w.pth")


def test_a_config_of_medkit_is_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "model = dict(type='mmpretrain.ImageClassifier',\n"
        "    backbone=dict(type='mmpretrain.ResNet', depth=50, stem_channels=8, base_channels=8),\n"
        "    data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True))\n"
    )
    encoder = open_tile_encoder(str(tmp_path / "own.py"), untrained=0, options={"model.backbone.depth": 18})
    assert encoder.name == "own, model.backbone.depth=18" and (encoder.mean, encoder.std) == ((1, 2, 3), (4, 5, 6))
    assert encode_tiles(encoder, read, COORDS[:1]).shape == (1, 64)


@pytest.mark.parametrize(
    ("backbone", "how", "says"),
    [
        ("resnet18", {}, "give one of them"),
        ("resnet18", {"checkpoint": "w.pth", "untrained": 0}, "give one of them"),
        ("resnet19", {"untrained": 0}, "no config and no model"),
        ("mobilenet-v2_8xb32_in1k", {"untrained": 0, "stage": 3}, "no residual network"),
    ],
)
def test_what_is_no_encoder_is_refused(backbone: str, how: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_tile_encoder(backbone, **how)


def test_timm_models() -> None:
    timm = pytest.importorskip("timm")
    whole, third = (open_tile_encoder("timm:resnet18", untrained=1, stage=n, device="cpu") for n in (None, 3))
    assert whole.mean == pytest.approx((123.675, 116.28, 103.53))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        network = whole.module
        assert isinstance(network, timm.models.ResNet) and network(images).shape == (2, 512)
        x = network.maxpool(network.act1(network.bn1(network.conv1(images))))
        wanted = network.layer3(network.layer2(network.layer1(x))).mean(dim=(2, 3))
        assert torch.allclose(third.module(images), wanted, atol=1e-6)
    with pytest.raises(ConfigError, match="no model 'resnetx'"):
        open_tile_encoder("timm:resnetx", untrained=0)
