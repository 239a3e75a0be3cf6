# Schedule and run folder of models of volumes: Adam; cosine by epoch, or a step down where validation stands still.
default_scope = 'mmengine'
seed = 0
max_epochs = 100
lr = 1e-4
max_norm = 10.0  # of the gradient: squared distances may be large
schedule = 'cosine'  # or 'plateau': a tenth of the lr where the RMSE of validation has not fallen 5 times
val_interval = 5  # epochs

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    optimizer=dict(type='mmengine.Adam', lr='${lr}'),
    clip_grad=dict(max_norm='${max_norm}'),
)
schedules = dict(
    cosine=dict(type='mmengine.CosineAnnealingLR', T_max='${max_epochs}', end='${max_epochs}', by_epoch=True),
    plateau=dict(type='mmengine.ReduceOnPlateauLR', monitor='volumes/rmse', patience=5),
)
param_scheduler = '${[schedules[schedule]]}'
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs='${max_epochs}', val_interval='${val_interval}')
val_cfg = dict(type='mmengine.ValLoop')
val_evaluator = dict(type='medkit.VolumeMetric')

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50, ignore_last=False),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(type='medkit.SafeCheckpointHook', interval='${val_interval}', max_keep_ckpts=1),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
)
hooks = [dict(type='medkit.EpochSeedHook'), dict(type='medkit.RunFolderHook')]
custom_hooks = '${hooks + method_hooks}'
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
