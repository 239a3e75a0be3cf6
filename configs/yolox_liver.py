# Reaches: AP50 .526 in report B (YOLOX with four classes, private images); not measured here.
# Takes: not measured on a GPU. YOLOX-s, 512 px, 300 epochs, mosaic and mix-up off for the last 15.
# Command: python tools/train.py configs/yolox_liver.py --data-root data/liver
_base_ = ['./_base_/datasets/lesions.py', './_base_/runtime.py']
max_epochs = 300
warmup_epochs = '${max(1, min(5, max_epochs // 4))}'
num_last_epochs = '${min(15, max_epochs // 4)}'  # without mosaic and mix-up, at the lowest lr
val_interval = 5
batch_size = 8
lr = 0.01  # for 64 images per step, as published; scaled to batch_size x GPUs
ema_momentum = 0.0001
pad_val = 114  # the grey that YOLOX pads with, in training and testing

model = dict(
    type='mmdet.YOLOX',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        pad_size_divisor=32,
        batch_augments=[
            dict(
                type='mmdet.BatchSyncRandomResize',
                random_size_range=('${img_size * 3 // 4}', '${img_size * 5 // 4}'),
                size_divisor=32,
                interval=10,
            )
        ],
    ),
    backbone=dict(
        type='mmdet.CSPDarknet',
        deepen_factor=0.33,
        widen_factor=0.5,
        out_indices=(2, 3, 4),
        norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg=dict(type='Swish'),
    ),
    neck=dict(
        type='mmdet.YOLOXPAFPN',
        in_channels=[128, 256, 512],
        out_channels=128,
        num_csp_blocks=1,
        upsample_cfg=dict(scale_factor=2, mode='nearest'),
        norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg=dict(type='Swish'),
    ),
    bbox_head=dict(
        type='mmdet.YOLOXHead',
        num_classes='${len(classes)}',
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=(8, 16, 32),
        norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg=dict(type='Swish'),
    ),
    train_cfg=dict(assigner=dict(type='mmdet.SimOTAAssigner', center_radius=2.5)),
    test_cfg=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.65), max_per_img=100),
)

# Mosaic and mix-up draw several images, so they act on a wrapper round the data set.
train_pipeline = [
    dict(type='mmdet.Mosaic', img_scale=('${img_size}', '${img_size}'), pad_val=114.0),
    dict(
        type='mmdet.RandomAffine',
        scaling_ratio_range=(0.1, 2),
        border=('${-img_size // 2}', '${-img_size // 2}'),
    ),
    dict(type='mmdet.MixUp', img_scale=('${img_size}', '${img_size}'), ratio_range=(0.8, 1.6), pad_val=114.0),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.Resize', scale=('${img_size}', '${img_size}'), keep_ratio=True),
    dict(type='mmdet.Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0))),
    dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type='mmdet.PackDetInputs'),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmdet.MultiImageMixDataset',
        dataset=dict(
            type='medkit.LesionDataset',
            data_root='${data_root}',
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes='${classes}'),
            class_map='${class_map}',
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=[dict(type='medkit.LoadMedicalImage'), dict(type='mmdet.LoadAnnotations', with_bbox=True)],
        ),
        pipeline=train_pipeline,
    ),
)

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='mmengine.SGD', lr='${lr}', momentum=0.9, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(enable=True, base_batch_size=64)
param_scheduler = [
    dict(type='mmdet.QuadraticWarmupLR', by_epoch=True, begin=0, end='${warmup_epochs}', convert_to_iter_based=True),
    dict(
        type='mmengine.CosineAnnealingLR',
        eta_min_ratio=0.05,
        begin='${min(warmup_epochs, max_epochs - 1)}',
        T_max='${max_epochs - num_last_epochs}',
        end='${max_epochs - num_last_epochs}',
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs='${max_epochs}', val_interval='${val_interval}')
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
custom_hooks = [
    dict(type='medkit.EpochSeedHook'),
    dict(type='medkit.RunFolderHook'),
    dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs='${num_last_epochs}', priority=48),
    dict(type='mmdet.SyncNormHook', priority=48),
    dict(
        type='mmengine.EMAHook',
        ema_type='mmdet.ExpMomentumEMA',
        momentum='${ema_momentum}',
        update_buffers=True,
        priority=49,
    ),
]
