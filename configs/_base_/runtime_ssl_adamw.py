# For vision transformers: AdamW with warm-up in place of SGD; lr is for 256 images per step here too.
_base_ = ['./runtime_ssl.py']
lr = 1e-3
weight_decay = 0.05
warmup_epochs = 4

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='mmengine.AdamW', lr='${lr}', weight_decay='${weight_decay}'),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=3.0),
)
warmup = '${min(warmup_epochs, max_epochs // 2)}'
param_scheduler = [
    dict(
        type='mmengine.LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end='${warmup}', convert_to_iter_based=True
    ),
    dict(
        type='mmengine.CosineAnnealingLR',
        T_max='${max_epochs - warmup}',
        begin='${warmup}',
        end='${max_epochs}',
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
