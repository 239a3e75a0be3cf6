"""Scoring files and sets with a trained detector: numbers, maps, pictures, and what cannot be read."""

import csv
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from medkit.apis.anomaly import AnomalyScorer
from medkit.apis.anomaly_files import score_files
from medkit.errors import ConfigError, DatasetError, WeightsError
from tests.anomaly_set import write_anomaly
from tests.apis.toy_anomaly import BrightSpots, write_config

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> AnomalyScorer:
    folder = tmp_path_factory.mktemp("run")
    torch.save({"state_dict": BrightSpots().state_dict()}, folder / "iter_4.pth")
    return AnomalyScorer(write_config(folder, "spots"), folder / "iter_4.pth", device="cpu", batch_size=2)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A grey image with a bright right half, a 16-bit one, a colour one in a sub-folder, and two that are none."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    half = np.full((40, 60), 60, np.uint8)
    half[:, 30:] = 250
    cv2.imwrite(str(folder / "a.png"), half)
    cv2.imwrite(str(folder / "deep.png"), np.arange(1600, dtype=np.uint16).reshape(40, 40) * 20)
    cv2.imwrite(str(folder / "sub" / "a.jpg"), np.full((300, 300, 3), 90, np.uint8))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "empty.jpg").write_bytes(b"")
    return folder


def table(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_get_scores_maps_and_pictures(scorer, images: Path, tmp_path: Path) -> None:
    done = score_files(scorer, images, tmp_path / "out", cutoff=0.9)
    assert (done.images, done.errors) == (3, 2)
    assert done.ms_per_image > 0 and done.peak_mb > 10
    rows = {row["file"]: row for row in table(tmp_path / "out" / "scores.csv")}
    assert list(rows) == ["a.png", "deep.png", "sub/a.jpg"]
    assert float(rows["a.png"]["score"]) == pytest.approx(250 / 127.5 - 1, abs=1e-5)
    assert [rows[name]["anomalous"] for name in rows] == ["1", "1", "0"]
    one = np.load(tmp_path / "out" / "maps" / "a.png.npy")
    assert one.dtype == np.float32 and one.shape == (32, 32)
    assert one[:, 20:].min() > one[:, :12].max(), "the map has the image's layout"
    picture = cv2.imread(str(tmp_path / "out" / "overlays" / "a.png.png"))
    assert picture.shape == (5 * 40, 5 * 60, 3), "small images are enlarged, in their own aspect"
    assert {row["file"] for row in table(tmp_path / "out" / "errors.csv")} == {"broken.png", "empty.jpg"}


def test_maps_of_16_bits_can_be_turned_back(scorer, images: Path, tmp_path: Path) -> None:
    score_files(scorer, images / "a.png", tmp_path / "exact", overlays=False)
    score_files(scorer, images / "a.png", tmp_path / "png", maps="png", overlays=False)
    assert not (tmp_path / "png" / "overlays").exists()
    row = table(tmp_path / "png" / "scores.csv")[0]
    low, high = float(row["map_min"]), float(row["map_max"])
    grey = cv2.imread(str(tmp_path / "png" / "maps" / "a.png.png"), cv2.IMREAD_UNCHANGED)
    assert grey.dtype == np.uint16
    exact = np.load(tmp_path / "exact" / "maps" / "a.png.npy")
    np.testing.assert_allclose(low + grey / 65535 * (high - low), exact, atol=2e-5)
    assert row["anomalous"] == "", "without a cut-off nothing is called"


def test_a_set_is_scored_by_role(scorer, tmp_path: Path) -> None:
    root = write_anomaly(tmp_path, size=48, num=8)
    found = scorer.score_set(root, ("val", "test", "mixed"), limit={"mixed": 3})
    assert {role: len(found.rows(role)) for role in ("val", "test", "mixed")} == {"val": 4, "test": 4, "mixed": 3}
    assert found.maps.shape == (11, 32, 32)
    test = found.rows("test")
    assert found.scores[test][found.labels[test] == 1].min() > found.scores[test][found.labels[test] == 0].max()
    outlined = next(row for row in test if found.labels[row] == 1)
    assert found.masks[outlined].shape == (32, 32)
    one, inside = found.maps[outlined], found.masks[outlined]
    assert one[inside].mean() > one[~inside].mean() + 0.3
    assert scorer.score_set(root, ("val",), maps=False).maps is None


def test_faults_are_named(scorer, tmp_path: Path, images: Path) -> None:
    with pytest.raises(ConfigError, match="maps='tif'"):
        score_files(scorer, images, tmp_path / "out", maps="tif")
    with pytest.raises(DatasetError, match="nothing could be scored, 1 files are not readable"):
        score_files(scorer, images / "broken.png", tmp_path / "out")
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, other)
    with pytest.raises(WeightsError, match=r"other.pth does not fit BrightSpots: .*mean"):
        AnomalyScorer(scorer.cfg, other)
    torch.save({"state_dict": {"mean": torch.tensor(float("nan")), "gain": torch.tensor(1.0)}}, other)
    with pytest.raises(WeightsError, match="gives the score nan"):
        score_files(AnomalyScorer(scorer.cfg, other), images, tmp_path / "out")
    with pytest.raises(ConfigError, match="no anomaly detector"):
        AnomalyScorer(REPO / "configs" / "simsiam_phantom.py", other)


def test_the_tool_prints_time_and_memory(scorer, images: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    command = ["score.py", scorer.cfg.filename, str(scorer.checkpoint), str(images), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", [*command, "--no-overlays", "--device", "cpu"])
    runpy.run_path(str(REPO / "tools" / "score.py"), run_name="__main__")
    assert re.search(r"3 images, 2 not readable; [\d.]+ ms each .*peak memory \d+ MB", capsys.readouterr().out)
