# SSiT's schedule: AdamW whose weight decay spares nothing, lr from 0 over the warm-up and down half a cosine, momentum
# of the moving average from 0.99 to 1, each set for every iteration.
_base_ = ['./runtime_ssl.py']
max_epochs = 300
warmup_epochs = 40
lr = 1e-3  # for 512 images per step; scaled to batch_size x GPUs
momentum = 0.99
auto_scale_lr = dict(base_batch_size=512)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='mmengine.AdamW', lr='${lr}', weight_decay=0.1), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(
        type='medkit.WarmupCosineLR',
        warmup='${min(warmup_epochs, max_epochs / 2)}',  # a run cut short still has both parts
        end='${max_epochs}',
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
method_hooks = [dict(type='medkit.CosineValueHook', attribute='momentum', start='${momentum}', end=1.0)]
monitored = dict(z='neck.fc2', p='head.predictor.fc1')  # before the last batch norms, which would hide a collapse
