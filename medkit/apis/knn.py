"""Does a pre-trained backbone know more than an untrained one? Weighted k-NN on frozen features.

The vote is that of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"
(CVPR 2018).
Command: ``python tools/knn.py configs/simsiam_busi.py work_dirs/simsiam_busi``.
"""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from medkit.data.lesion_dataset import read_coco
from medkit.engine import load_backbone
from medkit.errors import ConfigError, DatasetError


def knn_vote(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Class of each query by the k training features nearest in angle, weighted by exp(cosine / temperature).

    Args:
        features: (N, D) of the training images.
        labels: (N,) class indices.
        queries: (M, D).
        k: neighbours; all N when there are fewer.
        temperature: the smaller, the more the nearest ones count.

    Returns:
        (M,) class indices.
    """
    features, queries = (
        x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (features, queries)
    )
    cosine = queries @ features.T  # (M, N)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]  # (M, k)
    weight = np.exp(np.take_along_axis(cosine, nearest, axis=1) / temperature)
    votes = np.zeros((len(queries), int(labels.max()) + 1))
    np.add.at(votes, (np.arange(len(queries))[:, None], labels[nearest]), weight)
    return votes.argmax(axis=1)


def knn_accuracy(
    cfg: Config, checkpoint: str | Path | None, splits: tuple[str, ...] = ("val",), k: int = 20
) -> dict[str, float]:
    """Accuracy of k-NN by ``diagnosis``, from the training images to those of ``splits``.

    Args:
        cfg: a resolved SimSiam config.
        checkpoint: file or run folder; ``None`` takes the network as it is initialized.
        splits: held-out splits, joined.
        k: neighbours.

    Raises:
        DatasetError, WeightsError: see `diagnoses` and `load_backbone`.
    """
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmpretrain")):
        model = MODELS.build(cfg.model)
        model.init_weights()
        if checkpoint is not None:
            load_backbone(model.backbone, checkpoint)
        train = diagnoses(cfg, ("train",))
        held_out = diagnoses(cfg, splits)
        classes = sorted(set(train.values()))
        features, queries = (
            pooled_features(model, cfg, list(train)),
            pooled_features(model, cfg, list(held_out)),
        )
    labels = np.array([classes.index(name) for name in train.values()])
    truth = np.array([classes.index(name) if name in classes else -1 for name in held_out.values()])
    found = knn_vote(features, labels, queries, k)
    recalls = [
        np.mean(found[truth == index] == index) for index in range(len(classes)) if (truth == index).any()
    ]
    return {
        "accuracy": float(np.mean(found == truth)),
        "balanced_accuracy": float(np.mean(recalls)),
        "largest_class": float(np.mean(truth == np.bincount(labels).argmax())),
        "num_train": len(labels),
        "num_held_out": len(truth),
    }


def diagnoses(cfg: Config, splits: tuple[str, ...]) -> dict[str, str]:
    """Image path -> ``diagnosis`` in the prepared set's annotation files.

    Raises:
        DatasetError: a file is missing, or no image in it has a diagnosis.
    """
    dataset = cfg.train_dataloader.dataset
    root = Path(dataset.data_root)
    found: dict[str, str] = {}
    for split in splits:
        file = root / "annotations" / f"{split}.json"
        images = [image for image in read_coco(file)["images"] if image.get("diagnosis")]
        if not images:
            raise DatasetError(
                f"no image of {file} has a diagnosis; write the set with `python -m data_prep`"
            )
        found |= {
            str(root / dataset.data_prefix["img"] / item["file_name"]): item["diagnosis"] for item in images
        }
    return found


@torch.no_grad()
def pooled_features(model: nn.Module, cfg: Config, files: list[str], batch_size: int = 32) -> np.ndarray:
    """Average-pooled output of the last stage, (N, C), for image files at the config's ``img_size``."""
    if "img_size" not in cfg:
        raise ConfigError("k-NN needs the config's img_size; use one of configs/simsiam_*.py")
    pipeline = [
        dict(type="mmpretrain.LoadImageFromFile"),
        dict(type="mmpretrain.Resize", scale=(cfg.img_size, cfg.img_size)),
        dict(type="mmpretrain.PackInputs"),
    ]
    compose = Compose(pipeline)
    model.eval()
    preprocess, backbone = model.get_submodule("data_preprocessor"), model.get_submodule("backbone")
    features = []
    for start in range(0, len(files), batch_size):
        batch = default_collate([compose({"img_path": file}) for file in files[start : start + batch_size]])
        inputs = preprocess(batch)["inputs"]  # (B, 3, H, W)
        features.append(backbone(inputs)[-1].mean(dim=(2, 3)))  # (B, C)
    return torch.cat(features).cpu().numpy()
