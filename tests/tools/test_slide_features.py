"""tools/slide_features.py and feature_bank.py: from slide files over data_prep to bags that a head can read."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.slides.folder import prepare_slides
from data_prep.slides.tiles import Tiling, read_patches
from medkit.apis.bag_features import encode_tiles
from medkit.apis.tile_encoders import open_tile_encoder
from medkit.data.bag_files import read_bag
from medkit.data.bank_files import read_bank
from tests.slide_set import write_slide
from tools import feature_bank, slide_features

pytest.importorskip("h5py")
pytest.importorskip("openslide")
THIN = ("model.backbone.base_channels=8", "model.backbone.stem_channels=8")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Call with the words of a command line; returns what was printed, and the exit status."""

    def call(*words: object, tool=slide_features) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["slide_features.py", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            tool.main()
        return *capsys.readouterr(), int(end.value.code or 0)

    return call


def test_from_slides_to_bags(tmp_path: Path, run) -> None:
    image = write_slide(tmp_path / "in/a.tif", 1.0)
    write_slide(tmp_path / "in/b.tif", 1.0, seed=1)
    out, words = tmp_path / "out", ("--backbone", "resnet18", "--untrained", 0, "--device", "cpu", "--options", *THIN)
    list(prepare_slides(tmp_path / "in", out, Tiling(mpp=2.0, tile=64), quiet=True))
    printed, _, status = run(out, *words)
    assert status == 0 and printed.endswith("untrained, seed 0: 2 slides made, 0 done before, 0 failed\n")
    bag, places = read_bag(out / "features/a.h5"), read_patches(out / "patches/a.h5")
    assert bag.features.shape == (len(places.coords), 64) and (bag.side_px, bag.mpp) == (128, 1.0)
    assert np.array_equal(bag.coords, places.coords)
    x, y = places.coords[2]
    tile = cv2.resize(image[y : y + 128, x : x + 128], (64, 64), interpolation=cv2.INTER_AREA)
    options = {word.split("=")[0]: 8 for word in THIN}
    encoder = open_tile_encoder("resnet18", untrained=0, options=options, device="cpu")
    alone = encode_tiles(encoder, lambda *_: tile, places.coords[2:3])[0]
    assert np.abs(bag.features[2] - alone).max() < 0.02 * np.abs(alone).max()  # a pixel may differ by rounding
    printed, _, _ = run(out, *words)
    assert "0 slides made, 2 done before" in printed
    printed, _, status = run(out, *words, "--draws", 2, "--tiles", 3, tool=feature_bank)
    assert status == 0 and read_bank(out / "banks/b.h5").features.shape == (2, 3, 64)

    (tmp_path / "in/a.tif").rename(tmp_path / "a.tif")
    printed, _, status = run(out, *words, "--features", "more")
    assert status == 1 and "a: FAILED: " in printed and "no such file" in printed and "1 slides made" in printed
    printed, _, status = run(out, *words, "--features", "more", "--slides", tmp_path / "a.tif")
    assert status == 0 and "1 slides made, 1 done before" in printed
    _, err, status = run(out, *words, "--stage", 3)
    assert status == 2 and "-> resnet18, stage 3" in err


def test_a_folder_that_was_not_tiled_is_named(tmp_path: Path, run) -> None:
    _, err, status = run(tmp_path, "--backbone", "resnet18", "--untrained", 0)
    assert status == 2 and "run `python -m data_prep slides IN" in err
