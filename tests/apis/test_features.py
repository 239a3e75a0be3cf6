"""Encoders of convolutional and transformer configs; features that a killed run goes on with."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from medkit.apis import features
from medkit.apis.config import load_config
from medkit.apis.features import build_encoder, extract_features
from medkit.errors import ConfigError, DatasetError, WeightsError

REPO = Path(__file__).resolve().parents[2]
VIT = dict(
    arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48), img_size=32, patch_size=8
)
NORMALISED = dict(mean=[120.0, 110, 100], std=[60.0, 50, 40], to_rgb=True)


def config(backbone: dict, model: str = "mmpretrain.SimSiam", **more) -> Config:
    return Config(dict(model=dict(type=model, backbone=backbone, data_preprocessor=NORMALISED), img_size=32, **more))


def resnet() -> Config:
    return config(dict(type="mmpretrain.ResNet", depth=18, base_channels=4, stem_channels=4))


def vit(type: str = "mmpretrain.VisionTransformer", **changes) -> Config:
    model = "mmpretrain.MAE" if "MAE" in type else "mmpretrain.SimSiam"
    return config(dict(type=type, **(VIT | changes)), model)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    names = [str(folder / f"{i}.png") for i in range(11)]
    for i, name in enumerate(names):
        cv2.imwrite(name, rng.integers(0, 256, (40, 30 + i, 3), dtype=np.uint8))
    return names


def test_convolutional_features_are_the_average_of_the_last_stage() -> None:
    encoder, images = build_encoder(resnet(), None), torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        found, wanted = encoder(images), encoder.backbone(images)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(found, wanted)
    assert encoder.dims == {"knn": 32, "probe": 32} and found.shape == (2, 32)
    assert encoder.mean == (120, 110, 100) and encoder.std == (60, 50, 40)
    with pytest.raises(ConfigError, match="ResNet has no attention"):
        encoder.attention(images)
    with pytest.raises(ConfigError, match="pool='max'"):
        encoder(images, "max")


@pytest.mark.parametrize("out_type", ["raw", "cls_token", "avg_featmap"])
def test_transformer_features_do_not_depend_on_what_the_config_puts_out(out_type: str) -> None:
    encoder, raw = build_encoder(vit(out_type=out_type), None), build_encoder(vit(out_type="raw"), None)
    raw.backbone.load_state_dict(encoder.backbone.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = raw.backbone(images)[-1]  # (2, 17, 24)
        torch.testing.assert_close(encoder(images), tokens[:, 0])
        wanted = torch.cat((tokens[:, 0], tokens[:, 1:].mean(dim=1)), dim=1)
        torch.testing.assert_close(encoder(images, "probe"), wanted)
    assert encoder.dims == {"knn": 24, "probe": 48} and encoder.backbone.out_type == out_type


def test_masked_autoencoder_sees_the_whole_image() -> None:
    encoder, images = build_encoder(vit("mmpretrain.MAEViT"), None), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert encoder.tokens(images).shape == (2, 17, 24)
        torch.testing.assert_close(encoder(images), encoder(images))  # nothing is drawn


def test_attention_is_that_of_the_last_block() -> None:
    encoder, images = build_encoder(vit(out_type="raw"), None), torch.randn(2, 3, 32, 48)
    attention = encoder.attention(images)
    assert attention.shape == (2, 3, 4, 6) and (attention >= 0).all() and (attention.sum((2, 3)) < 1).all()
    block, seen = encoder.backbone.layers[-1].attn, []
    handles = [block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))]
    handles.append(block.proj.register_forward_pre_hook(lambda _, given: seen.append(given[0])))
    with torch.no_grad():
        encoder(images)
        x, mixed = seen  # (2, 25, 24), before and after attention
        value = block.qkv(x).view(2, 25, 3, 3, 8)[:, :, 2]  # (2, 25, heads, 8)
        own = 1 - attention.sum((2, 3))  # (2, heads), of the class token to itself
        weights = torch.cat((own[..., None], attention.flatten(2)), dim=2)  # (2, heads, 25)
        torch.testing.assert_close(torch.einsum("bhn,bnhc->bhc", weights, value).flatten(1), mixed[:, 0])


def test_checkpoint_is_loaded_and_another_size_is_resized_or_refused(tmp_path: Path) -> None:
    trained = build_encoder(vit(), None, seed=5)
    weights = {f"backbone.{name}": tensor for name, tensor in trained.backbone.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "a.pth")
    loaded, images = build_encoder(vit(), tmp_path / "a.pth"), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), trained(images))
        assert not torch.equal(build_encoder(vit(), None, seed=6)(images), trained(images))
    with pytest.raises(WeightsError, match="position embedding is of another image size"):
        build_encoder(vit(img_size=64), tmp_path / "a.pth")
    larger = build_encoder(vit(), tmp_path / "a.pth", img_size=64)
    grid = trained.backbone.pos_embed[:, 1:].reshape(1, 4, 4, 24).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.interpolate(grid, (8, 8), mode="bicubic", align_corners=False)
    torch.testing.assert_close(larger.backbone.pos_embed[:, 1:], wanted.flatten(2).transpose(1, 2))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(larger(images), loaded(images))  # what mmpretrain does on the way


def test_building_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    build_encoder(resnet(), None)
    assert torch.equal(before, torch.get_rng_state())


def test_files_are_read_as_training_reads_them(files: list[str]) -> None:
    cfg = load_config(REPO / "configs/simsiam_busi.py")
    encoder = build_encoder(cfg, None)
    image = cv2.resize(cv2.imread(files[0]), (32, 32))  # BGR
    from mmengine.registry import MODELS

    pixels = torch.from_numpy(image.transpose(2, 0, 1))[None]  # (1, 3, 32, 32)
    batch = MODELS.build(cfg.model).data_preprocessor({"inputs": pixels, "data_samples": []})
    with torch.no_grad():
        wanted = encoder(batch["inputs"]).numpy()
    found = extract_features(encoder, files[:1], 32, num_workers=0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert found.dtype == np.float32


def test_file_is_read_again_and_another_origin_is_refused(files: list[str], tmp_path: Path) -> None:
    encoder, out = build_encoder(resnet(), None), tmp_path / "deep" / "a.npy"
    found = extract_features(encoder, files, 32, out, batch_size=4)
    written = out.stat().st_mtime_ns
    np.testing.assert_array_equal(found, extract_features(encoder, files, 32, num_workers=0, batch_size=4))
    np.testing.assert_array_equal(found, extract_features(encoder, files, 32, out))
    assert out.stat().st_mtime_ns == written and json.loads(out.with_suffix(".json").read_text())["done"] == 11
    for other, said in (
        (dict(encoder=build_encoder(resnet(), None, seed=1)), "weights"),
        (dict(img_size=48), "preprocessing"),
        (dict(pool="probe"), "preprocessing"),
        (dict(files=files[::-1]), "images"),
    ):
        with pytest.raises(DatasetError, match=f"features of other {said}; delete it"):
            extract_features(**(dict(encoder=encoder, files=files, img_size=32, out=out) | other))
    out.with_suffix(".json").unlink()
    with pytest.raises(DatasetError, match="does not say what it is of"):
        extract_features(encoder, files, 32, out)


def test_wrong_input_is_named(files: list[str], tmp_path: Path) -> None:
    encoder = build_encoder(resnet(), None)
    with pytest.raises(DatasetError, match="no image"):
        extract_features(encoder, [], 32)
    with pytest.raises(DatasetError, match=r"absent\.png does not exist"):
        extract_features(encoder, [*files, str(tmp_path / "absent.png")], 32, tmp_path / "a.npy")
    with pytest.raises(DatasetError, match=r"ends in \.npy"):
        extract_features(encoder, files, 32, tmp_path / "a.h5")
    blue = resnet()
    blue.model.data_preprocessor.to_rgb = False
    with pytest.raises(ConfigError, match="leaves images in BGR"):
        build_encoder(blue, None)


def die_in_the_third_batch(files: list[str], out: Path) -> None:
    encode = features.encode_files

    def dying(*args):
        for index, batch in enumerate(encode(*args)):
            if index == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    features.encode_files = dying
    extract_features(build_encoder(resnet(), None), files, 32, out, batch_size=3, num_workers=0)


def test_a_killed_run_goes_on_to_equal_bytes(files: list[str], tmp_path: Path, monkeypatch) -> None:
    whole, out = tmp_path / "whole.npy", tmp_path / "killed.npy"
    encoder = build_encoder(resnet(), None)
    extract_features(encoder, files, 32, whole, batch_size=3)
    process = multiprocessing.get_context("fork").Process(target=die_in_the_third_batch, args=(files, out))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists() and json.loads(out.with_suffix(".json").read_text())["done"] == 6
    read, encode = [], features.encode_files
    monkeypatch.setattr(features, "encode_files", lambda e, names, *more: read.extend(names) or encode(e, names, *more))
    with pytest.raises(DatasetError, match="features of other weights"):
        extract_features(build_encoder(resnet(), None, seed=1), files, 32, out, batch_size=3)
    extract_features(encoder, files, 32, out, batch_size=3)
    assert read == files[6:] and out.read_bytes() == whole.read_bytes()
    assert not out.with_name("killed.npy.part").exists()
