"""PaDiM: anomalib's statistics against the reference code, and fitting on a local backbone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from scipy.ndimage import gaussian_filter

from medkit.errors import ConfigError, TrainingError, WeightsError
from medkit.models.anomaly import PaDiM
from tests.models.anomaly.local_backbone import BACKBONE, healthy, with_blob

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


class Listed(torch.nn.Module):
    """A backbone that returns what it is given."""

    def __init__(self, maps: list[torch.Tensor]) -> None:
        super().__init__()
        self.listed = maps

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.listed)


@pytest.fixture(scope="module")
def fitted() -> PaDiM:
    torch.manual_seed(0)
    model = PaDiM(BACKBONE, n_features=12)
    model.collect(healthy(8))
    model.collect(healthy(8, seed=1))
    model.finish_fit()
    return model.eval()


def test_golden() -> None:
    """Concatenation, mean, covariance, distance and upsampling of the reference code; its covariance has no 1e-5."""
    assert json.loads((GOLDEN / "padim_stats.json").read_text())["tolerance"] == "rtol 1e-4"
    gold = {name: torch.from_numpy(value) for name, value in np.load(GOLDEN / "padim_stats.npz").items()}
    model = PaDiM(BACKBONE, n_features=7)
    model.features.backbone = Listed([gold["layer1"], gold["layer2"], gold["layer3"]])
    model.core.idx = torch.arange(18)
    everything = model.core.generate_embedding(model.features(torch.zeros(10, 3, 32, 32)))
    torch.testing.assert_close(everything, gold["concat"])

    model.core.idx = gold["channel_index"]
    model.collect(torch.zeros(10, 3, 32, 32))
    model.finish_fit()
    torch.testing.assert_close(model.core.gaussian.mean, gold["mean"], rtol=1e-4, atol=1e-6)
    inverse = model.core.gaussian.inv_covariance.double()  # (64, 7, 7)
    covariance = gold["cov"].permute(2, 0, 1)
    ridge = 1e-5 * torch.eye(7, dtype=torch.float64)
    torch.testing.assert_close(inverse, torch.linalg.inv(covariance + ridge), rtol=1e-3, atol=1e-2)
    model.core.gaussian.inv_covariance = torch.linalg.inv(covariance).float()

    tests = [gold["test_layer1"], gold["test_layer2"], gold["test_layer3"]]
    model.features.backbone = Listed(tests)
    embedding = model.core.generate_embedding(model.features(torch.zeros(3, 3, 32, 32)))
    maps = model.core.anomaly_map_generator
    distance = maps.compute_distance(embedding, [model.core.gaussian.mean, model.core.gaussian.inv_covariance])
    torch.testing.assert_close(distance[:, 0].double(), gold["mahalanobis"], rtol=1e-4, atol=0)
    large = maps.up_sample(distance, (32, 32))[:, 0]
    torch.testing.assert_close(large.double(), gold["upsampled"], rtol=1e-4, atol=0)

    found, scores = model.score(torch.zeros(3, 3, 32, 32))
    assert torch.equal(scores, found.amax(dim=(1, 2)))
    # SciPy repeats the outermost pixel at the border, anomalib does not: otherwise the blur is the same.
    same_border = gaussian_filter(gold["upsampled"].numpy(), (0, 4, 4), mode="mirror")
    np.testing.assert_allclose(found, same_border, rtol=1e-4)
    np.testing.assert_allclose(scores, gold["image_score_max"], rtol=0.03)


def test_blob_is_found_where_it_is(fitted: PaDiM) -> None:
    normal = healthy(4, seed=2)
    maps, scores = fitted(torch.cat((normal, with_blob(normal))))
    assert maps.shape == (8, 64, 64) and maps.dtype == torch.float32
    assert scores[4:].min() > 2 * scores[:4].max()
    row, column = divmod(int(maps[4:].mean(dim=0).argmax()), 64)
    assert abs(row - 25.5) < 8 and abs(column - 37.5) < 8  # half of layer 3's stride
    samples = fitted(with_blob(normal), [BaseDataElement() for _ in normal], mode="predict")
    assert samples[0].pred_score == pytest.approx(float(scores[4])) and samples[0].anomaly_map.shape == (64, 64)


def test_images_are_normalised_as_imagenet_and_the_backbone_stays_frozen(fitted: PaDiM) -> None:
    seen = []
    features = fitted.features
    handle = features.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    features(torch.full((1, 3, 32, 32), 1.0))
    handle.remove()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    white = (255 - mean) / std
    torch.testing.assert_close(seen[0][0, :, 0, 0], white)
    fitted.train()
    assert not any(module.training for module in features.modules())
    assert not any(parameter.requires_grad for parameter in fitted.features.parameters())
    fitted.eval()


def test_checkpoint_holds_the_fit(fitted: PaDiM) -> None:
    torch.manual_seed(1)
    other = PaDiM(BACKBONE, n_features=12)
    state = fitted.state_dict()
    assert len([name for name in state if name.endswith("conv1.weight") and "layer" not in name]) == 1
    other.load_state_dict(state)
    images = healthy(2, seed=3)
    torch.testing.assert_close(other.eval()(images), fitted(images), rtol=0, atol=0)
    with pytest.raises(TrainingError, match="has seen 16 images before this run"):
        other.collect(images)
    with pytest.raises(ConfigError, match=r"fitted to images of \(64, 64\) pixels .*got \(32, 32\)"):
        other(healthy(1, size=32))


def test_pretrained_weights_all_arrive(tmp_path: Path) -> None:
    """Also those that mmpretrain's ResNet sets to zero after initializing itself."""
    state = PaDiM(BACKBONE, n_features=4).features.backbone.state_dict()
    source = {name: torch.rand_like(value) for name, value in state.items() if value.is_floating_point()}
    torch.save({"state_dict": {f"backbone.{name}": value for name, value in source.items()}}, tmp_path / "run.pth")
    model = PaDiM(BACKBONE, n_features=4, pretrained=str(tmp_path / "run.pth"))
    model.init_weights()
    found = model.features.backbone.state_dict()
    assert all(torch.equal(found[name], value) for name, value in source.items())


def test_few_images_are_warned_about_and_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for module in ("padim", "local_backbone"):
        monkeypatch.setattr(f"medkit.models.anomaly.{module}.print_log", lambda text, **_: said.append(text))
    model = PaDiM(BACKBONE, n_features=4)
    with pytest.raises(ConfigError, match="PaDiM is not fitted"):
        model(healthy(1))
    model.init_weights()
    model.collect(healthy(1))
    with pytest.raises(ConfigError, match="got 1 healthy images, expected at least 2"):
        model.finish_fit()
    model.collect(healthy(3))
    model.finish_fit()
    assert ["not trained" in text for text in said] == [True, False, False]
    assert "4 healthy images for 4 features" in said[1] and "fitted to 4 healthy images" in said[2]


def test_faults_name_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="n_features=57, expected 1 to 56"):
        PaDiM(BACKBONE, n_features=57)
    with pytest.raises(ConfigError, match=r"needs images of at least 32 x 32 pixels, got 24 x 24"):
        PaDiM(BACKBONE, n_features=4)(healthy(1, size=24))
    with pytest.raises(ConfigError, match=r"needs 0\.\d GB for 2 images with 256 .*max_memory_gb=1e-06"):
        PaDiM(BACKBONE, n_features=56, max_memory_gb=1e-6).collect(healthy(2))
    with pytest.raises(WeightsError, match="missing"):
        PaDiM(BACKBONE, n_features=4, pretrained=str(tmp_path / "missing.pth")).init_weights()
    monkeypatch.setattr("medkit.models.anomaly.local_backbone.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"PaDiM needs anomalib; run `pip install medkit\[anomaly\]`"):
        PaDiM(BACKBONE, n_features=4)
