"""Every module that medkit registers can be constructed, and nothing is registered that this file forgets."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from data_prep.slide_phantom import SlideOptions, write_slides
from medkit import registry
from tests.anomaly_set import write_anomaly
from tests.bag_set import write_bags
from tests.bank_set import write_banks
from tests.graded import write_graded
from tests.image_bag_set import write_image_bags
from tests.models.selfsup import ssit_golden as ssit
from tests.prepared import LIVER, write_prepared
from tests.volume_set import write_volumes

REGISTRIES = sorted(name for name in dir(registry) if name.isupper() and not name.startswith(("MMENGINE", "_")))
RESNET = dict(type="mmpretrain.ResNet", depth=18)
PROJECTOR = dict(type="medkit.ProjectionNeck", in_channels=8, hid_channels=8, out_channels=8)
DINO_NECK = dict(type="medkit.DINONeck", in_channels=512, hid_channels=8)
ARGUMENTS: dict[str, dict] = {
    "AnchorBatchSampler": dict(
        sampler=SimpleNamespace(dataset=SimpleNamespace(labels=[0, 0, 1, 1], subjects=[*"abcd"])),
        batch_size=2,
        num_classes=2,
    ),
    "BagClassifier": dict(head=dict(type="medkit.ABMIL", in_channels=8, num_classes=2)),
    "ClassBalancedSampler": dict(dataset=type("Labelled", (list,), {"labels": (0, 1)})("ab")),
    "CenterNetHead": dict(in_channels=8, feat_channels=8, num_classes=2),
    "ImageVectors": dict(vectors=dict(clinical=dict(columns=("diagnosis",)))),
    "LoadResized": dict(scale=(64, 64)),
    "SubjectSampler": dict(dataset=SimpleNamespace(subjects="abcd"), batch_size=2, seed=0),
    "ReinhardNormalize": dict(target=dict(mean=[65, 35, -20], std=[12, 12, 10]), scope="tile"),
    "SpatialSiamese": dict(
        backbone=dict(type="mmpretrain.ResNet", depth=18),
        neck=dict(type="mmpretrain.LinearNeck", in_channels=512, out_channels=128, gap_dim=2, norm_cfg=None),
        head=dict(type="medkit.PairDistanceLoss"),
    ),
    "ContIG": dict(backbone=RESNET, modalities=dict(clinical=dict(in_features=3)), feat_channels=512),
    "CrossCorrelationHead": dict(in_channels=8, loss=dict(type="mmpretrain.CrossCorrelationLoss")),
    "DINO": dict(backbone=RESNET, neck=DINO_NECK, head=dict(type="medkit.DINOHead", num_prototypes=16)),
    "DINOHead": dict(num_prototypes=16),
    "DINONeck": DINO_NECK,
    "NNCLR": dict(backbone=RESNET, neck=PROJECTOR, head=dict(type="medkit.NNCLRHead", predictor=PROJECTOR)),
    "NNCLRHead": dict(predictor=PROJECTOR),
    "ProjectionNeck": PROJECTOR,
    "SimCLR": dict(backbone=RESNET, neck=PROJECTOR),
    "SquareResize": dict(size=64),
    "SSiT": ssit.model_config(),
    "SSiTHead": ssit.model_config()["head"],
    "LateDecayLR": dict(decay=1, end=2),
    "PartsOptimWrapperConstructor": dict(
        optim_wrapper_cfg=dict(parts=dict(generator=dict(optimizer=dict(type="SGD", lr=0.1))))
    ),
    "WarmupCosineLR": dict(warmup=1, end=2),
    "PaDiM": dict(backbone=dict(**RESNET, out_indices=(0, 1, 2))),
    "PatchCore": dict(backbone=dict(**RESNET, out_indices=(1, 2))),
    **{name: dict(in_channels=8, num_classes=2) for name in ("ABMIL", "AttentionMaxMIL", "CLAM", "ConcatTileMIL")},
    **{name: dict(in_channels=8, num_classes=2) for name in ("DSMIL", "MaxInstanceMIL", "PoolingMIL", "SequenceMIL")},
    "TransMIL": dict(in_channels=8, num_classes=2, embed_channels=16),
    "SparseConvMIL": dict(in_channels=8, num_classes=2, cell=4),
    "GigaSSL": dict(
        aggregator=dict(type="medkit.MLPMeanAggregator", in_channels=8, out_channels=8),
        projector=dict(type="medkit.GigaSSLProjector", in_channels=8, out_channels=8),
    ),
    "ImageBagClassifier": dict(
        backbone=RESNET, head=dict(type="medkit.ConcatTileMIL", in_channels=512, num_classes=2)
    ),
    "PretrainedBackbone": dict(checkpoint="file.pth"),
    "FreezeAwareOptimWrapperConstructor": dict(
        optim_wrapper_cfg=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
    ),
}


def registered() -> list[tuple[str, str]]:
    pairs = []
    for name in REGISTRIES:
        reg = getattr(registry, name)
        reg.import_from_location()
        pairs += [(name, type_) for type_ in reg.module_dict]
    return pairs


@pytest.mark.parametrize("name, type_", registered())
def test_module_can_be_built(name: str, type_: str, tmp_path: Path) -> None:
    reg, arguments = getattr(registry, name), {k: v for k, v in ARGUMENTS.get(type_, {}).items() if k != "type"}
    if type_ == "TilePairs":
        write_slides(tmp_path / "set", 1, 0, 0, options=SlideOptions(pitch_mm=4.0))
        arguments = dict(table="train.csv", data_root=str(tmp_path / "set"), near_mm=5.0, pairs_per_epoch=6)
        assert len(reg.build(dict(type="medkit.TilePairs", **arguments))) == 6
    elif type_ == "SaliencyImages":
        root = write_graded(tmp_path, num=8)
        assert len(reg.build(dict(type="medkit.SaliencyImages", ann_file="labels.csv", data_root=str(root)))) == 4
    elif type_ in ("AnomalyImages", "AnomalyPairs"):
        root = write_anomaly(tmp_path, num=4)
        length = 8 if type_ == "AnomalyPairs" else 2
        assert len(reg.build(dict(type=f"medkit.{type_}", data_root=str(root)))) == length
    elif type_ == "ImageBagDataset":
        load = [dict(type="medkit.LoadMedicalImage")]
        root = write_image_bags(tmp_path / "set", studies=4)
        assert len(reg.build(dict(type="medkit.ImageBagDataset", data_root=str(root), pipeline=load))) == 4
    elif type_ == "BagDataset":
        assert len(reg.build(dict(type="medkit.BagDataset", data_root=str(write_bags(tmp_path, cases=4))))) == 8
    elif type_ == "VolumeDataset":
        root, size = write_volumes(tmp_path, subjects=4, visits=1), (16, 32, 16)
        assert len(reg.build(dict(type="medkit.VolumeDataset", data_root=str(root), target_size=size))) == 4
    elif type_ == "FeatureBankDataset":
        root = write_banks(tmp_path, slides=3)
        assert len(reg.build(dict(type="medkit.FeatureBankDataset", data_root=str(root)))) == 3
    elif name == "DATASETS":
        root = write_prepared(tmp_path)
        arguments = dict(ann_file="annotations/train.json", data_root=str(root), pipeline=[]) | arguments
        arguments |= dict(data_prefix=dict(img="images/"), metainfo=dict(classes=LIVER))
        assert len(reg.build(dict(type=f"medkit.{type_}", **arguments))) == 6
    elif name in ("OPTIM_WRAPPERS", "PARAM_SCHEDULERS"):
        import torch

        optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
        assert reg.build(dict(type=f"medkit.{type_}", optimizer=optimizer, **arguments)).optimizer is optimizer
    else:
        assert type(reg.build(dict(type=f"medkit.{type_}", **arguments))).__name__ == type_


def test_something_is_registered_in_each_used_registry() -> None:
    filled = {name for name, _ in registered()}
    assert {"MODELS", "HOOKS", "METRICS", "DATASETS", "TRANSFORMS", "OPTIM_WRAPPER_CONSTRUCTORS"} <= filled
