# Schedule and run folder of all pre-training: SGD, lr 0.05 per 256 images, cosine by epoch. runtime_simsiam.py and
# runtime_ssl_adamw.py change what a method or a transformer needs otherwise.
default_scope = 'mmpretrain'
seed = 0
max_epochs = 100
lr = 0.05  # for 256 images per step; scaled to batch_size x GPUs

sync_bn = 'torch'  # with several GPUs; SimSiam loses three points of ImageNet accuracy without it

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='mmengine.SGD', lr='${lr}', momentum=0.9, weight_decay=1e-4),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(
        type='mmengine.CosineAnnealingLR', T_max='${max_epochs}', begin=0, end='${max_epochs}', by_epoch=True
    )
]
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs='${max_epochs}')

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50, ignore_last=False),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(type='medkit.SafeCheckpointHook', interval=1, max_keep_ckpts=1),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
)
monitored = dict()  # outputs that the monitor watches; empty: the projector's and, where there is one, the predictor's
method_hooks = []  # what a method needs besides
hooks = [
    dict(type='medkit.EpochSeedHook'),
    dict(type='medkit.RunFolderHook'),
    dict(type='medkit.CollapseMonitorHook', outputs='${monitored}'),
]
knn_interval = 10  # epochs from one k-NN probe to the next, where the set has labels; they are only looked at
probe = dict(type='medkit.KNNProbeHook', interval='${knn_interval}')
custom_hooks = '${hooks + [probe] + method_hooks}'
randomness = dict(seed='${seed}', deterministic=False)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='mmengine.LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
