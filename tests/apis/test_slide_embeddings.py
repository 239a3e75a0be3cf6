"""Slide embeddings follow from the seed and the slide alone, are made as trained, and survive their file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from medkit.apis.config import load_config
from medkit.apis.embedding_files import Embeddings, read_embeddings, write_embeddings
from medkit.apis.slide_embeddings import average_features, embed_slides, open_gigassl, write_slide_embeddings
from medkit.data import FeatureBankDataset
from medkit.data.bag_files import read_bag
from medkit.errors import ConfigError, DatasetError
from medkit.models.mil import GigaSSL
from tests.bank_set import write_banks

CONFIG = Path(__file__).parents[2] / "configs" / "gigassl_slides.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_banks(tmp_path_factory.mktemp("set"), slides=4)


def config(**options) -> Config:
    return load_config(CONFIG, cfg_options=dict(features=6, embedding=8, projection=4, **options))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "model.pth"
    torch.save(dict(state_dict=open_model(config()).state_dict()), path)
    return path


def open_model(cfg: Config) -> GigaSSL:
    from medkit.registry import MODELS

    return MODELS.build(cfg.model)


def slides(root: Path, **options) -> FeatureBankDataset:
    return FeatureBankDataset(str(root), folder="features", split=None, **options)


def test_a_slide_s_embedding_is_its_own(root: Path, checkpoint: Path) -> None:
    model = open_gigassl(config(), checkpoint)
    all_of_them = embed_slides(model, slides(root), bags=9)
    assert all_of_them.shape == (4, 8) and np.isfinite(all_of_them).all()
    np.testing.assert_array_equal(embed_slides(model, slides(root), bags=9), all_of_them)
    np.testing.assert_allclose(embed_slides(model, slides(root, indices=2), bags=9), all_of_them[:2], rtol=1e-5)
    assert not np.allclose(embed_slides(model, slides(root), bags=9, seed=1), all_of_them)


def test_groups_use_every_tile_once_and_have_length_one(root: Path, checkpoint: Path) -> None:
    """Of 7 tiles, groups of 3 make two bags; a group as large as the slide is the slide."""
    model = open_gigassl(config(num_tiles=3), checkpoint, other_bags=True)
    found = embed_slides(model, slides(root, num_tiles=3), groups=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    whole = [embed_slides(model, slides(root, num_tiles=size), groups=True) for size in (7, 50)]
    np.testing.assert_allclose(*whole, rtol=1e-5)
    bag = read_bag(root / "features" / "slide2.h5")
    direct = model.embed(
        dict(feats=torch.from_numpy(bag.features)[None], coords=torch.from_numpy(bag.coords / bag.side_px)[None])
    )
    np.testing.assert_allclose(whole[0][2], torch.nn.functional.normalize(direct)[0].detach(), rtol=1e-5)


def test_other_bags_than_in_training_are_refused(checkpoint: Path) -> None:
    for other in (dict(num_tiles=20), dict(cell=0.25)):
        with pytest.raises(ConfigError, match=r"trained with 5 tiles and cells of 1, the config says .*--other-bags"):
            open_gigassl(config(**other), checkpoint)
        assert open_gigassl(config(**other), checkpoint, other_bags=True).num_tiles == other.get("num_tiles", 5)
    with pytest.raises(ConfigError, match=r"expected a config of medkit.GigaSSL"):
        open_gigassl(load_config(CONFIG.with_name("simsiam_busi.py")), checkpoint)


def test_files_hold_embeddings_and_averages(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    options = dict(data_root=str(root), average=tmp_path / "mean.npz", bags=3)
    said = list(write_slide_embeddings(config(), checkpoint, tmp_path / "out.npz", **options))
    assert len(said) == 2 and "4 slides, 8 numbers" in said[0] and "4 slides, 6 numbers" in said[1]
    found, mean = read_embeddings(tmp_path / "out.npz"), read_embeddings(tmp_path / "mean.npz")
    assert found.ids.tolist() == [f"slide{i}" for i in range(4)] and found.cases.tolist()[-2:] == ["case2", "case2"]
    np.testing.assert_allclose(mean.vectors[1], read_bag(root / "features" / "slide1.h5").features.mean(0), rtol=1e-5)
    np.testing.assert_array_equal(mean.vectors, average_features(slides(root)))
    assert found.how.endswith("K 5, {'bags': 3}")


def test_other_files_are_refused(tmp_path: Path) -> None:
    made = Embeddings(np.array(["a"]), np.array(["a"]), np.zeros((1, 2), np.float32))
    with pytest.raises(ConfigError, match=r"written as .npz or .parquet"):
        write_embeddings(tmp_path / "out.csv", made)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="holds no embeddings"):
        read_embeddings(tmp_path / "broken.npz")
    write_embeddings(tmp_path / "nan.npz", Embeddings(made.ids, made.cases, made.vectors * np.nan))
    with pytest.raises(DatasetError, match="perhaps not finite"):
        read_embeddings(tmp_path / "nan.npz")


def test_parquet_has_a_row_per_slide(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    made = Embeddings(np.array(["a", "b"]), np.array(["p", "p"]), np.eye(2, dtype=np.float32))
    write_embeddings(tmp_path / "out.parquet", made)
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert table == dict(slide_id=["a", "b"], case_id=["p", "p"], e0=[1.0, 0.0], e1=[0.0, 1.0])
