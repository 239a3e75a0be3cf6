"""What turns scans and images into codes for an index: a volume autoencoder, or the backbone of a pre-training.

    encoder = open_encoder(EncoderSettings('configs/barlowtwins_busi.py', 'work_dirs/barlowtwins_busi'))
    cases = encoder.cases('data/busi', splits=('train',))
    index = CaseIndex.build(encoder.encode(cases), cases, encoder.fingerprint, encoder.metric)

Command: ``python tools/retrieve.py build``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from mmengine.config import Config

from medkit.apis.cases import Case, ModelFingerprint
from medkit.apis.config import load_config
from medkit.apis.features import build_encoder, extract_features, hash_weights, preprocessing
from medkit.data.case_table import read_case_table
from medkit.data.graded import UNKNOWN, read_graded
from medkit.data.transforms.loading import read_image
from medkit.data.unlabelled import IMAGE_SUFFIXES
from medkit.errors import ConfigError, DatasetError

__all__ = ["CaseEncoder", "EncoderSettings", "ImageEncoder", "open_encoder"]


@dataclass(frozen=True)
class EncoderSettings:
    """How an encoder is made again.

    Attributes:
        config: file of the config.
        checkpoint: file or run folder; None: the network as it is initialised.
        img_size: side of images; None: the config's.
        pool: of images, see `medkit.engine.encoding.Encoder`.
        seed: of the initialisation.
        cfg_options: changes to the config.
    """

    config: str
    checkpoint: str | None = None
    img_size: int | None = None
    pool: str = "knn"
    seed: int = 0
    cfg_options: dict = field(default_factory=dict)


class CaseEncoder(Protocol):
    """Reads cases, makes codes and pictures.

    Attributes:
        metric: by which its codes are compared, unless the user says otherwise.
        fingerprint: of its codes.
    """

    metric: str
    fingerprint: ModelFingerprint

    def cases(self, source: str | Path, splits: Sequence[str] = ()) -> list[Case]:
        """Cases of a file or a folder, of some splits or of all; DatasetError where there is none."""

    def encode(self, cases: Sequence[Case]) -> np.ndarray:
        """Codes (N, D) float32."""

    def views(self, case: Case) -> list[np.ndarray]:
        """Pictures of a case, each (H, W) or RGB (H, W, 3), uint8; always the same number."""


def open_encoder(settings: EncoderSettings) -> CaseEncoder:
    """The encoder of a config: of volumes where its model is `medkit.ConvAutoencoder3D`, else of images.

    Raises:
        ConfigError, WeightsError: the config has no encoder, or the checkpoint does not fit.
    """
    cfg = load_config(settings.config, cfg_options=settings.cfg_options)
    if str(cfg.get("model", {}).get("type", "")).endswith("ConvAutoencoder3D"):
        from medkit.apis.case_volumes import VolumeEncoder

        return VolumeEncoder(cfg, settings.checkpoint, settings.seed)
    return ImageEncoder(cfg, settings)


class ImageEncoder:
    """The backbone of a pre-training config on images; see `CaseEncoder`. Codes are compared by angle."""

    metric = "cosine"

    def __init__(self, cfg: Config, settings: EncoderSettings) -> None:
        self.img_size = settings.img_size or cfg.get("img_size")
        if not isinstance(self.img_size, int) or self.img_size < 1:
            raise ConfigError(f"img_size is {self.img_size} in {cfg.filename}; give the side in pixels with --img-size")
        self.pool = settings.pool
        self._encoder = build_encoder(cfg, settings.checkpoint, settings.img_size, settings.seed)
        self._encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        network = {name: value for name, value in sorted(cfg.model.backbone.items()) if name != "init_cfg"}
        self.fingerprint = ModelFingerprint(
            model=type(self._encoder.backbone).__name__,
            weights=hash_weights(self._encoder),
            preprocessing=f"{preprocessing(self._encoder, self.img_size, self.pool)} {plain(network)}",
        )

    def cases(self, source: str | Path, splits: Sequence[str] = ()) -> list[Case]:
        """Images of a file, of a folder with ``cases.csv``, a prepared or graded set, or any folder of images."""
        source = Path(source)
        if source.is_file():
            return [Case(source.name, path=str(source.resolve()))]
        if (source / "cases.csv").is_file():
            rows = [row | {"path": str(source / row["image"])} for row in read_case_table(source / "cases.csv")]
        elif (source / "labels.csv").is_file() or (source / "annotations").is_dir():
            rows = _graded_rows(source)
        else:
            rows = _folder_rows(source)
        rows = [row for row in rows if not splits or row["split"] in splits]
        if not rows:
            raise DatasetError(f"{source} has no image{f' of the splits {list(splits)}' if splits else ''}")
        return [
            Case(row["image"], row["subject"], row["label"], row.get("visit", ""), str(Path(row["path"]).resolve()))
            for row in rows
        ]

    def encode(self, cases: Sequence[Case]) -> np.ndarray:
        """(N, D) float32."""
        return extract_features(self._encoder, [case.path for case in cases], self.img_size, pool=self.pool)

    def views(self, case: Case) -> list[np.ndarray]:
        """The image in its own proportions."""
        image = read_image(case.path)
        return [image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)]


def plain(settings: Any) -> Any:
    """Settings of a config as plain values in a fixed order, so that their text can be compared."""
    if isinstance(settings, dict):
        return {str(name): plain(settings[name]) for name in sorted(settings)}
    return [plain(one) for one in settings] if isinstance(settings, (list, tuple)) else settings


def _graded_rows(root: Path) -> list[dict[str, str]]:
    graded = read_graded(root)
    images = (root / "images").resolve()
    return [
        {
            "image": Path(file).resolve().relative_to(images).as_posix(),
            "path": file,
            "subject": str(graded.patients[row]),
            "label": "" if graded.labels[row] == UNKNOWN else graded.classes[graded.labels[row]],
            "split": str(graded.splits[row]),
        }
        for row, file in enumerate(graded.files)
    ]


def _folder_rows(root: Path) -> list[dict[str, str]]:
    if not root.is_dir():
        raise DatasetError(f"{root} does not exist; give an image, or a folder of images")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    unknown = {"subject": "", "label": "", "split": ""}
    return [unknown | {"image": path.relative_to(root).as_posix(), "path": str(path)} for path in files]
