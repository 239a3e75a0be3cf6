# Reaches: not measured on real slides; configs/gigassl_phantom.py is, on made-up ones.
# Takes: not measured.
# Command: python tools/train.py configs/gigassl_slides.py --data-root data/slides
_base_ = ['./_base_/datasets/feature_bank.py', './_base_/models/gigassl.py', './_base_/runtime_ssl.py']
# As released: 5 tiles, temperature 0.05, Adam at 0.03 per 256 slides, 10 epochs of warm-up from 0, cosine, 1000
# epochs, batch 256. batch_size must not exceed the number of patients.
max_epochs = 1000
lr = 0.03
warmup = '${min(10, max_epochs / 4)}'  # epochs
optim_wrapper = dict(optimizer=dict(_delete_=True, type='mmengine.Adam', lr='${lr}'))
param_scheduler = [
    dict(
        type='medkit.WarmupCosineLR',
        warmup='${warmup}',
        end='${max_epochs}',
        closed=True,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
default_hooks = dict(checkpoint=dict(interval=50))
monitored = dict(_delete_=True, z='projector')
custom_hooks = '${hooks + method_hooks}'  # no k-NN probe: it looks at images
