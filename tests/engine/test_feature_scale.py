"""Standardised features: the numbers are those of the training bags, and a checkpoint brings them along."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.engine import FeatureScaleHook, read_checkpoint
from medkit.errors import ConfigError
from tests.bag_set import write_bags

CONFIG = Path(__file__).resolve().parents[2] / "configs/mean_max_slides.py"


def test_scale_of_the_training_bags_is_kept_and_used(tmp_path: Path) -> None:
    root = write_bags(tmp_path / "bags")
    options = {"standardize": True, "in_channels": 16}
    cfg = load_config(CONFIG, quick=True, work_dir=tmp_path / "run", data_root=root, cfg_options=options)
    runner = train(cfg)
    dataset = runner.train_dataloader.dataset
    rows = np.concatenate([dataset._bag(index).features for index in range(len(dataset))]).astype(np.float64)
    state = read_checkpoint(tmp_path / "run")["state_dict"]
    np.testing.assert_allclose(state["data_preprocessor.mean"], rows.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state["data_preprocessor.std"], rows.std(axis=0), rtol=1e-5)

    model = MODELS.build(cfg.model)
    model.load_state_dict(state)
    bags = [torch.from_numpy(dataset._bag(index).features) for index in range(2)]
    batch = model.data_preprocessor({"inputs": {"feats": bags, "coords": [None, None]}, "data_samples": []})
    real = batch["inputs"]["feats"][1, : len(bags[1])].numpy()
    np.testing.assert_allclose(real, (bags[1].numpy() - rows.mean(axis=0)) / rows.std(axis=0), rtol=1e-3, atol=1e-3)


def test_a_channel_that_does_not_vary_stays(tmp_path: Path) -> None:
    from medkit.data.bag_dataset import BagDataset
    from medkit.data.bag_files import Bag, write_bag

    for name in ("a", "b"):
        write_bag(tmp_path / f"features/{name}.npz", Bag(np.full((3, 2), 0.1, np.float32)))
    (tmp_path / "bags.csv").write_text("slide_id,label,split\na,0,train\nb,1,train\n")
    mean, std = BagDataset(str(tmp_path), split="train").feature_scale()
    np.testing.assert_allclose(mean, 0.1, rtol=1e-6)
    assert std.tolist() == [1.0, 1.0]


def test_the_hook_without_a_place_for_its_numbers_is_refused(tmp_path: Path) -> None:
    root = write_bags(tmp_path / "bags")
    cfg = load_config(CONFIG, quick=True, work_dir=tmp_path / "run", data_root=root, cfg_options={"in_channels": 16})
    cfg.custom_hooks.append(dict(type=FeatureScaleHook))
    with pytest.raises(ConfigError, match="BagDataPreprocessor with standardize=True"):
        train(cfg)
