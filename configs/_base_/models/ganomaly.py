# GANomaly (ACCV 2018): networks, losses and optimizers as released. width: channels of the first layer.
width = 64
latent = 100
lr = 2e-4
weights = dict(adv=1.0, con=50.0, enc=1.0)

model = dict(
    type='medkit.GANomaly', img_size='${img_size}', width='${width}', latent='${latent}', weights='${weights}'
)
optimizer = dict(type='mmengine.Adam', lr='${lr}', betas=(0.5, 0.999))
optim_wrapper = dict(
    constructor='medkit.PartsOptimWrapperConstructor',
    type='mmengine.OptimWrapper',
    parts=dict(generator=dict(optimizer='${optimizer}'), discriminator=dict(optimizer='${optimizer}')),
)
param_scheduler = []
method_hooks = []
