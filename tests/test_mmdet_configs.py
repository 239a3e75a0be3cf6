"""mmdet's own detectors, as mmdet ships them, train and predict on the operators of medkit.ops.

Only what a small CPU run needs is changed: paths, batch size, workers, number of epochs, image size, and the
ImageNet weights that would have to be downloaded. The model sections stay as they are.
"""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.hub import get_config
from mmengine.runner import Runner

import medkit  # noqa: F401  (installs the finder for mmcv._ext)

SIZE = 64
CENTERNET = "mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py"
CENTERNET_DCN = "mmdet::centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py"
YOLOX = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Four images with objects of two of COCO's classes, in COCO's own layout."""
    from mmdet.datasets import CocoDataset

    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
    for i in range(4):
        picture = rng.integers(0, 80, (SIZE, SIZE, 3), dtype=np.uint8)
        for j, (x, y, side) in enumerate([(5 + i, 8, 20), (35, 30 + i, 24)]):
            picture[y : y + side, x : x + side] = (200, 60, 60)
            box = [x, y, side, side]
            annotations.append(
                dict(id=2 * i + j, image_id=i, category_id=1 + j, bbox=box, area=side**2, iscrowd=0)
            )
        for split in ("train2017", "val2017"):
            cv2.imwrite(str(root / split / f"{i}.png"), picture)
        images.append(dict(id=i, file_name=f"{i}.png", width=SIZE, height=SIZE))
    categories = [dict(id=k, name=name) for k, name in enumerate(CocoDataset.METAINFO["classes"], 1)]
    content = json.dumps(dict(images=images, annotations=annotations, categories=categories))
    (root / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        (root / "annotations" / f"instances_{split}.json").write_text(content)
    return root


def shrink(value, coco):
    """The data sections at SIZE pixels, with the paths of the small set."""
    sizes = {"img_scale", "crop_size", "scale"}
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "data_root":
                value[key] = f"{coco}/"
            elif key in sizes:
                value[key] = (SIZE, SIZE)
            elif isinstance(item, str):
                value[key] = item.replace("data/coco/", f"{coco}/")
            else:
                shrink(item, coco)
    elif isinstance(value, (list, tuple)):
        for item in value:
            shrink(item, coco)


def small_config(name, coco, work_dir):
    cfg = get_config(name)
    untouched = cfg.model.to_dict()
    for section in (
        "train_dataloader",
        "val_dataloader",
        "test_dataloader",
        "val_evaluator",
        "test_evaluator",
    ):
        shrink(cfg[section], coco)
        if section.endswith("dataloader"):
            cfg[section].update(batch_size=2, num_workers=0, persistent_workers=False)
    for transform in cfg.train_dataloader.dataset.get("pipeline", []):
        if transform.type == "RandomAffine":
            transform.border = (-SIZE // 2, -SIZE // 2)
    if "times" in cfg.train_dataloader.dataset:
        cfg.train_dataloader.dataset.times = 1
    cfg.train_cfg.max_epochs = 1
    for augment in cfg.model.data_preprocessor.get("batch_augments", []):
        augment.random_size_range = (SIZE, SIZE + 32)
    cfg.model.backbone.pop("init_cfg", None)
    small = cfg.model.to_dict()
    assert all(small[part] == untouched[part] for part in ("neck", "bbox_head", "train_cfg", "test_cfg"))
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir), randomness=dict(seed=0), experiment_name=work_dir.name, log_level="ERROR"
        )
    )
    return cfg


@pytest.mark.parametrize(
    "name", [CENTERNET, CENTERNET_DCN, YOLOX], ids=["centernet", "centernet_dcnv2", "yolox"]
)
def test_it_trains_two_iterations_and_predicts(name, coco, tmp_path):
    runner = Runner.from_cfg(small_config(name, coco, tmp_path))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 2
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 2 and np.isfinite(losses).all()
    after = runner.model.state_dict()
    trained = [key for key, _ in runner.model.named_parameters()]
    moved = sum(not torch.equal(before[key], after[key]) for key in trained)
    assert moved > 0.9 * len(trained), f"{moved} of {len(trained)} parameters moved"

    metrics = runner.test()
    assert name == YOLOX or "coco/bbox_mAP" in metrics
    runner.model.bbox_head.test_cfg.score_thr = 0.0  # an untrained YOLOX finds nothing above its 0.01
    for batch in runner.test_dataloader:
        for sample in runner.model.test_step(batch):
            found = sample.pred_instances
            assert len(found) > 0 and found.bboxes.shape == (len(found), 4)
            assert torch.isfinite(found.bboxes).all() and ((found.scores >= 0) & (found.scores <= 1)).all()


def test_dcn_config_uses_the_stand_in(coco, tmp_path):
    """The deformable layers of CenterNet call mmcv._ext, not some fall-back of mmdet."""
    import mmcv._ext
    from mmcv.ops import ModulatedDeformConv2d
    from mmdet.registry import MODELS

    cfg = small_config(CENTERNET_DCN, coco, tmp_path)
    neck = MODELS.build(cfg.model.neck)
    layers = [module for module in neck.modules() if isinstance(module, ModulatedDeformConv2d)]
    assert len(layers) == 3
    calls = []
    original = mmcv._ext.modulated_deform_conv_forward
    try:
        mmcv._ext.modulated_deform_conv_forward = lambda *a, **k: (calls.append(1), original(*a, **k))
        neck((torch.zeros(1, 512, 2, 2),))
    finally:
        mmcv._ext.modulated_deform_conv_forward = original
    assert len(calls) == 3
