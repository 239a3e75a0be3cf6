# ALAD (ICDM 2018): networks of the release for CIFAR and SVHN, a layer more per doubling of the size; its losses,
# optimizers and averaged weights. width: channels of the first layer of encoder, generator and joint critic.
width = 128
critic_width = 64  # of the critic of image pairs, whose features give the score
latent = 100
average = 1e-3  # share of the current weights in the averaged ones; a training of few steps needs more
lr = 2e-4

model = dict(
    type='medkit.ALAD',
    img_size='${img_size}',
    width='${width}',
    critic_width='${critic_width}',
    latent='${latent}',
    average='${average}',
)
optimizer = dict(type='mmengine.Adam', lr='${lr}', betas=(0.5, 0.999))
optim_wrapper = dict(
    constructor='medkit.PartsOptimWrapperConstructor',
    type='mmengine.OptimWrapper',
    parts=dict(
        generator=dict(modules=['encoder', 'generator'], optimizer='${optimizer}'),
        critics=dict(modules=['critic_xz', 'critic_xx', 'critic_zz'], optimizer='${optimizer}'),
    ),
)
param_scheduler = []
method_hooks = []
