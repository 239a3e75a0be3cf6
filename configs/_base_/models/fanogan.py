# f-AnoGAN (Medical Image Analysis 2019): networks, losses and optimizers as released. The first gan_iters batches train
# critic and generator, the others the encoder.
width = 64
latent = 128
gan_iters = '${max_iters // 2}'
lr = 1e-4  # of generator and critic
encoder_lr = 5e-5

model = dict(
    type='medkit.FAnoGAN', img_size='${img_size}', width='${width}', latent='${latent}', gan_iters='${gan_iters}'
)
optimizer = dict(type='mmengine.Adam', lr='${lr}', betas=(0.0, 0.9))
optim_wrapper = dict(
    constructor='medkit.PartsOptimWrapperConstructor',
    type='mmengine.OptimWrapper',
    parts=dict(
        generator=dict(optimizer='${optimizer}'),
        critic=dict(optimizer='${optimizer}'),
        encoder=dict(optimizer=dict(type='mmengine.RMSprop', lr='${encoder_lr}', alpha=0.9)),
    ),
)
param_scheduler = []
method_hooks = []
