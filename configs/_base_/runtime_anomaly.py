# Run folder and iteration loop of all anomaly detectors. models/METHOD.py brings model, optim_wrapper, param_scheduler
# and method_hooks (a list, empty where a method needs no hooks of its own); the config sets max_iters and intervals.
default_scope = 'mmengine'
seed = 0
max_iters = 1000
checkpoint_interval = 500  # iterations
log_interval = 50

train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters='${max_iters}')

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval='${log_interval}', log_metric_by_epoch=False),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(
        type='medkit.SafeCheckpointHook', by_epoch=False, interval='${checkpoint_interval}', max_keep_ckpts=2
    ),
)
hooks = [
    dict(type='medkit.IterSeedHook'),
    dict(type='medkit.RunFolderHook', interval='${log_interval}'),
]
custom_hooks = '${hooks + method_hooks}'
randomness = dict(seed='${seed}', deterministic=False)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
model_wrapper_cfg = dict(type='mmengine.MMSeparateDistributedDataParallel')  # each network has an optimizer of its own
vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='mmengine.LogProcessor', window_size='${log_interval}', by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
