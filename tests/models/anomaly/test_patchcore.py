"""PatchCore: what anomalib shares with the authors' code, what it does otherwise, and fitting on a local backbone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.errors import ConfigError
from medkit.models.anomaly import PatchCore
from tests.models.anomaly.local_backbone import BACKBONE, healthy, with_blob

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
TWO_LAYERS = {**BACKBONE, "out_indices": (1, 2)}


def make(**options) -> PatchCore:
    return PatchCore(TWO_LAYERS, **options)


@pytest.fixture(scope="module")
def gold() -> dict[str, torch.Tensor]:
    assert json.loads((GOLDEN / "patchcore_pieces.json").read_text())["tolerance"] == "rtol 1e-4"
    return {name: torch.from_numpy(value) for name, value in np.load(GOLDEN / "patchcore_pieces.npz").items()}


@pytest.fixture(scope="module")
def fitted() -> PatchCore:
    torch.manual_seed(0)
    model = make(coreset=0.25)
    model.collect(healthy(8))
    model.collect(healthy(8, seed=1))
    model.finish_fit()
    return model.eval()


def test_nearest_distances_and_score_of_one_neighbour_are_the_roots_of_the_authors(gold) -> None:
    """The authors' index returns squared distances, anomalib's their roots; one neighbour means no weight."""
    model = make(num_neighbors=1)
    model.core.memory_bank = gold["embedding"][gold["coreset_index"]]  # (25, 12)
    distance, place = model.core.nearest_neighbors(gold["query"], n_neighbors=1)
    torch.testing.assert_close(distance.double() ** 2, gold["query_sqdist"], rtol=1e-4, atol=1e-5)
    scores = model.core.compute_anomaly_score(distance.view(2, 64), place.view(2, 64), gold["query"])
    torch.testing.assert_close(scores.double() ** 2, gold["image_score"], rtol=1e-4, atol=0)


def test_greedy_steps_choose_the_coreset_of_the_authors(gold) -> None:
    """From the authors' start (the norm of all distances) and without projection; anomalib starts at random."""
    from anomalib.models.components import KCenterGreedy

    sampler = KCenterGreedy(gold["embedding"], sampling_ratio=0.2)
    assert sampler.coreset_size == len(gold["coreset_index"]) == 25
    sampler.features = gold["embedding"]
    sampler.min_distances = torch.cdist(gold["embedding"], gold["embedding"]).norm(dim=1, keepdim=True)
    chosen = []
    for _ in range(sampler.coreset_size):
        chosen.append(sampler.get_new_idx())
        sampler.update_distances(chosen[-1])
    assert torch.stack(chosen).tolist() == gold["coreset_index"].tolist()


def test_weighting_never_raises_a_score_and_keeps_the_map(fitted: PatchCore) -> None:
    plain = make(num_neighbors=1)
    plain.load_state_dict(fitted.state_dict())
    images = torch.cat((healthy(2, seed=2), with_blob(healthy(2, seed=2))))
    (maps, weighted), (same_maps, scores) = fitted(images), plain.eval()(images)
    assert torch.equal(maps, same_maps)
    assert (weighted < scores).all() and (weighted > 0).all()


def test_blob_is_found_where_it_is(fitted: PatchCore) -> None:
    assert fitted.core.memory_bank.shape == (256, 48)  # a quarter of 16 images x 64 patches
    normal = healthy(4, seed=2)
    maps, scores = fitted(torch.cat((normal, with_blob(normal))))
    assert maps.shape == (8, 64, 64) and maps.dtype == torch.float32
    assert scores[4:].min() > 1.5 * scores[:4].max()
    row, column = divmod(int(maps[4:].mean(dim=0).argmax()), 64)
    assert abs(row - 25.5) < 8 and abs(column - 37.5) < 8
    larger, _ = fitted(healthy(1, size=96))  # patches have no position
    assert larger.shape == (1, 96, 96)


def test_bank_chosen_from_all_patches_gives_healthy_training_images_zero() -> None:
    model = make(coreset=1.0, num_neighbors=1)
    model.collect(healthy(2))
    model.finish_fit()
    _, scores = model.eval()(healthy(2))
    assert scores.max() < 0.02  # anomalib's last patch may be drawn twice; float32 roots are not exact


def test_checkpoint_of_another_size_loads(fitted: PatchCore) -> None:
    other = make()
    other.collect(healthy(1, seed=5))
    other.finish_fit()
    assert other.core.memory_bank.shape == (6, 48)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other.core.memory_bank, fitted.core.memory_bank)


def test_faults_name_what_to_do() -> None:
    with pytest.raises(ConfigError, match="coreset=0, num_neighbors=9; expected above 0 to 1"):
        make(coreset=0)
    with pytest.raises(ConfigError, match="PatchCore is not fitted"):
        make()(healthy(1))
    with pytest.raises(ConfigError, match="got 0 healthy images, expected at least 1"):
        make().finish_fit()
    with pytest.raises(ConfigError, match="max_memory_gb=1e-05"):
        make(max_memory_gb=1e-5).collect(healthy(2))
    model = make(coreset=0.01)
    model.collect(healthy(1))
    with pytest.raises(ConfigError, match=r"coreset=0.01 of 64 patches leaves none"):
        model.finish_fit()
