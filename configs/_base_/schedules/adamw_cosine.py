# AdamW with warm-up and cosine over the run; the backbone has its own learning rate.
max_epochs = 300
lr = 5e-4  # for 16 images per step; not scaled by itself when batch_size or the number of GPUs changes
backbone_lr_mult = 1.0
warmup_iters = 500

# norm_decay_mult reaches neck and head; what a custom key names, the backbone here, keeps the decay of its key.
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='medkit.FreezeAwareOptimWrapperConstructor',
    optimizer=dict(type='mmengine.AdamW', lr='${lr}', weight_decay=1e-4, fused=True),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult='${backbone_lr_mult}')), norm_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end='${warmup_iters}'),
    dict(
        type='mmengine.CosineAnnealingLR',
        T_max='${max_epochs}',
        eta_min_ratio=0.01,
        begin=0,
        end='${max_epochs}',
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs='${max_epochs}', val_interval='${val_interval}')
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
val_interval = 5
