# ALOCC (CVPR 2018): the paper's losses and detector, the released refiner, noise, optimizers and two refiner steps.
refiner_width = 32
detector_width = 64
lr = 2e-3
stop_error = None  # mean squared error at which training stops; None: max_iters decides

model = dict(
    type='medkit.ALOCC',
    img_size='${img_size}',
    refiner_width='${refiner_width}',
    detector_width='${detector_width}',
    stop_error='${stop_error}',
)
optimizer = dict(type='mmengine.RMSprop', lr='${lr}', alpha=0.9)
optim_wrapper = dict(
    constructor='medkit.PartsOptimWrapperConstructor',
    type='mmengine.OptimWrapper',
    parts=dict(refiner=dict(optimizer='${optimizer}'), detector=dict(optimizer='${optimizer}')),
)
param_scheduler = []
method_hooks = []
