# HealthyGAN (SASHIMI 2022): networks, losses, two optimizers and monitors, as published. width: channels of the first
# layer of both networks. linear_decay: lr to 0 over the last quarter; False is what the released code does (1e-4 to
# 9.99e-5).
width = 64
num_blocks = 6  # residual blocks of the generator
num_layers = 6  # layers of the discriminator, each halves the size; images need at least 2^num_layers pixels
lr = 1e-4
linear_decay = False
picture_interval = 1000  # iterations from one picture strip to the next
weights = dict(gp=10.0, adv=1.0, adv_healthy=1.0, identity=1.0, rec=1.0, focus=0.1, size=1.0, binary=1.0)

model = dict(
    type='medkit.HealthyGAN',
    generator=dict(width='${width}', num_blocks='${num_blocks}'),
    discriminator=dict(width='${width}', num_layers='${num_layers}'),
    weights='${weights}',
    generator_every=2,
)
optimizer = dict(type='mmengine.Adam', lr='${lr}', betas=(0.5, 0.999))
optim_wrapper = dict(
    constructor='medkit.PartsOptimWrapperConstructor',
    type='mmengine.OptimWrapper',
    parts=dict(generator=dict(optimizer='${optimizer}'), discriminator=dict(optimizer='${optimizer}')),
)
param_scheduler = [
    dict(
        type='medkit.LateDecayLR',
        by_epoch=False,
        end='${max_iters}',
        decay='${max(max_iters // 4, 1)}',
        linear='${linear_decay}',
    )
]
method_hooks = [
    dict(type='medkit.MaskMonitorHook', interval='${log_interval}', picture_interval='${picture_interval}'),
]
