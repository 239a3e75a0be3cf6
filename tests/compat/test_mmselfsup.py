"""mmselfsup's configs build and train on mmpretrain's classes.

The config below has the structure of the SimSiam config that mmselfsup 1.0.0 ships, in small. With
MMSELFSUP_WHEEL naming a wheel (``pip download --no-deps mmselfsup==1.0.0``) the shipped one is tried.
"""

import copy
import importlib.util
import os
import sys
import zipfile

import cv2
import mmpretrain.models
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS, VISUALIZERS, DefaultScope
from mmengine.runner import Runner

from medkit.compat import install_mmselfsup_alias, register_mmselfsup
from medkit.errors import ConfigError

install_mmselfsup_alias()

SHIPPED = "mmselfsup/.mim/configs/selfsup/simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py"

SMALL = """
default_scope = 'mmselfsup'
model = dict(
    type='SimSiam',
    data_preprocessor=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr_to_rgb=True),
    backbone=dict(
        type='ResNet', depth=18, out_indices=[4], norm_cfg=dict(type='SyncBN'), zero_init_residual=True),
    neck=dict(
        type='NonLinearNeck', in_channels=512, hid_channels=32, out_channels=32, num_layers=3,
        with_last_bn_affine=False, with_avg_pool=True),
    head=dict(
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='NonLinearNeck', in_channels=32, hid_channels=16, out_channels=32,
            with_avg_pool=False, with_last_bn=False, with_last_bias=True)))
view_pipeline = [
    dict(type='RandomResizedCrop', size=32, scale=(0.2, 1.), backend='pillow'),
    dict(type='RandomApply', prob=0.8, transforms=[
        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)]),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=0.5),
    dict(type='RandomSolarize', prob=0.2),
    dict(type='RandomFlip', prob=0.5),
]
train_dataloader = dict(
    batch_size=4, num_workers=0, drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmcls.ImageNet', data_root='', ann_file='meta/train.txt', data_prefix=dict(img_path='train/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
            dict(type='PackSelfSupInputs', meta_keys=['img_path'])]))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, weight_decay=1e-4, momentum=0.9),
    paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, by_epoch=True, begin=0, end=2)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
custom_hooks = [dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, lr=0.05)]
visualizer = dict(type='SelfSupVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
"""


@pytest.fixture
def small_model():
    return Config.fromstring(SMALL, ".py").model.to_dict()


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("train", "meta"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"set/train/{i}.png"), rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    (tmp_path / "set/meta/train.txt").write_text("".join(f"{i}.png {i}\n" for i in range(4)))
    return tmp_path / "set"


def train(cfg: Config, images, tmp_path) -> Runner:
    """Two epochs of one iteration each, on the CPU."""
    with DefaultScope.overwrite_default_scope("mmselfsup"):
        cfg.train_dataloader.dataset.data_root = str(images)
        cfg.merge_from_dict(
            dict(work_dir=str(tmp_path / "run"), experiment_name=tmp_path.name, log_level="ERROR")
        )
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner


def check_types(model):
    assert type(model) is mmpretrain.models.SimSiam
    assert type(model.backbone) is mmpretrain.models.ResNet
    assert type(model.neck) is type(model.head.predictor) is mmpretrain.models.NonLinearNeck
    assert type(model.data_preprocessor) is mmpretrain.models.SelfSupDataPreprocessor


def test_type_with_scope(small_model):
    check_types(MODELS.build(dict(small_model, type="mmselfsup.SimSiam")))


def test_scope_key(small_model):
    check_types(MODELS.build(dict(small_model, _scope_="mmselfsup")))


def test_default_scope(small_model):
    with DefaultScope.overwrite_default_scope("mmselfsup"):
        check_types(MODELS.build(small_model))


def test_out_indices_keep_their_meaning():
    """mmselfsup counts stages from 1, mmpretrain from 0: the third stage of a ResNet-18 has 256 channels."""
    image = torch.zeros(1, 3, 64, 64)
    backbone = MODELS.build(dict(type="mmselfsup.ResNet", depth=18, out_indices=[3]))
    assert backbone(image)[0].shape == (1, 256, 4, 4)
    assert MODELS.build(dict(type="mmselfsup.ResNet", depth=18))(image)[0].shape == (1, 512, 2, 2)
    assert MODELS.build(dict(type="mmcls.ResNet", depth=18, out_indices=[3]))(image)[0].shape == (
        1,
        512,
        2,
        2,
    )
    with pytest.raises(ConfigError, match="stem's output"):
        MODELS.build(dict(type="mmselfsup.ResNet", depth=18, out_indices=[0, 4]))


def test_classes_of_other_kinds_forward():
    register_mmselfsup()
    from mmpretrain.datasets import ImageNet
    from mmpretrain.engine import SimSiamHook
    from mmpretrain.visualization import UniversalVisualizer

    assert DATASETS.get("mmcls.ImageNet") is ImageNet
    assert HOOKS.get("mmselfsup.SimSiamHook") is SimSiamHook
    assert VISUALIZERS.get("mmselfsup.SelfSupVisualizer") is UniversalVisualizer


def test_own_modules_can_be_registered():
    from mmselfsup.registry import TRANSFORMS as OLD_TRANSFORMS

    @OLD_TRANSFORMS.register_module()
    class MadeHere:
        pass

    try:
        assert TRANSFORMS.get("mmselfsup.MadeHere") is MadeHere
    finally:
        OLD_TRANSFORMS.module_dict.pop("MadeHere")


@pytest.mark.parametrize("cfg", [dict(type="mmselfsup.ODC"), dict(type="ODC", _scope_="mmselfsup")])
def test_what_mmpretrain_lacks_is_named(cfg):
    with pytest.raises(ConfigError, match=r"mmselfsup had a model 'ODC', but mmpretrain"):
        MODELS.build(cfg)


def test_arguments_of_transforms_are_translated():
    with DefaultScope.overwrite_default_scope("mmselfsup"):
        crop = TRANSFORMS.build(dict(type="RandomResizedCrop", size=32, scale=(0.2, 1.0), ratio=(0.9, 1.1)))
        blur = TRANSFORMS.build(dict(type="RandomGaussianBlur", sigma_min=0.1, sigma_max=2.0, prob=0.3))
        pack = TRANSFORMS.build(dict(type="PackSelfSupInputs", meta_keys=["img_path"]))
        solarize = TRANSFORMS.build(dict(type="RandomSolarize", threshold=100, prob=0.2))
        with pytest.raises(ConfigError, match="pseudo_label_keys"):
            TRANSFORMS.build(dict(type="PackSelfSupInputs", pseudo_label_keys=["hog"]))
    assert (crop.scale, crop.crop_ratio_range, crop.aspect_ratio_range) == ((32, 32), (0.2, 1.0), (0.9, 1.1))
    assert (tuple(blur.magnitude_range), blur.magnitude_std, blur.prob) == ((0.1, 2.0), "inf", 0.3)
    assert (pack.input_key, tuple(pack.meta_keys)) == ("img", ("img_path",))
    assert (solarize.thr, solarize.prob) == (100, 0.2)


def test_a_whole_config_trains(images, tmp_path):
    runner = train(Config.fromstring(SMALL, ".py"), images, tmp_path)
    assert runner.iter == 2
    check_types(runner.model)
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert ((losses >= -1) & (losses <= 1)).all()
    groups = runner.optim_wrapper.optimizer.param_groups
    predictor = {group["lr"] for group in groups if group.get("fix_lr")}
    others = {group["lr"] for group in groups if not group.get("fix_lr")}
    assert predictor == {0.05} and others and max(others) < 0.05


def test_the_shipped_config_trains(images, tmp_path):
    wheel = os.environ.get("MMSELFSUP_WHEEL")
    if not wheel:
        pytest.skip(
            "set MMSELFSUP_WHEEL to a downloaded mmselfsup-1.0.0 wheel to try the config that it ships"
        )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if "/.mim/configs/" in name])
    cfg = Config.fromfile(tmp_path / SHIPPED)
    model = copy.deepcopy(cfg.model)
    model.type = "mmselfsup.SimSiam"
    check_types(MODELS.build(model))
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_cfg.max_epochs = 1
    runner = train(cfg, images, tmp_path)
    assert runner.iter == 1
    check_types(runner.model)
    assert -1 <= runner.message_hub.get_scalar("train/loss").current() <= 1


def test_the_finder_answers_for_its_names_only():
    finders = list(sys.meta_path)
    install_mmselfsup_alias()
    assert sys.meta_path == finders
    assert importlib.util.find_spec("mmselfsup").submodule_search_locations == []
    assert importlib.util.find_spec("mmselfsup.registry").origin == "medkit.compat"
    assert importlib.util.find_spec("mmselfsup.models") is None
