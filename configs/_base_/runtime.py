# Run folder, checkpoints, seeding, averaging of weights, and which backbone stages train when.
default_scope = 'mmdet'
seed = 0
unfreeze = 'flex'  # flex: all train; fix: the backbone never does; stepwise: stage by stage
unfreeze_schedule = None  # epochs at which layer4, layer3, layer2, layer1+stem start; None: equal fractions
ema_momentum = 0.002

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(
        type='medkit.SafeCheckpointHook', interval=1, max_keep_ckpts=2, save_best='coco/mAP', rule='greater'
    ),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='medkit.EpochSeedHook'),
    dict(type='medkit.RunFolderHook'),
    dict(type='medkit.StepwiseUnfreezeHook', mode='${unfreeze}', schedule='${unfreeze_schedule}'),
    dict(type='mmengine.SyncBuffersHook'),  # the weights that are validated and saved are those of all processes
    dict(type='mmengine.EMAHook', ema_type='mmengine.ExponentialMovingAverage', momentum='${ema_momentum}'),
]
randomness = dict(seed='${seed}', deterministic=False)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(type='mmdet.DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='mmengine.LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
