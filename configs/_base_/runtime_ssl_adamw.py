# For vision transformers: AdamW with warm-up in place of SGD; lr is for 256 images per step here too.
_base_ = ['./runtime_ssl.py']
lr = 1e-3
weight_decay = 0.05
warmup_epochs = 2
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='mmengine.AdamW', lr='${lr}', betas=(0.9, 0.95), weight_decay='${weight_decay}'
    ),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=3.0),
)
