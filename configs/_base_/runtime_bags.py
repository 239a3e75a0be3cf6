# Schedule and run folder of heads for bags. Each config brings its method's optimizer, rate and number of epochs.
default_scope = 'mmengine'
seed = 0
max_epochs = 20
optimizer = 'Adam'
lr = 5e-4
betas = (0.9, 0.999)
weight_decay = 1e-4
schedule = 'constant'  # or 'cosine', down to lr_end
lr_end = 5e-6
accumulate = 1  # steps whose gradients are added up
val_interval = 1  # epochs
save_best = 'bags/auroc'  # of validation; None: the last epoch alone is kept

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    accumulative_counts='${accumulate}',
    optimizer=dict(type='${optimizer}', lr='${lr}', betas='${betas}', weight_decay='${weight_decay}'),
)
schedules = dict(
    constant=dict(type='mmengine.ConstantLR', factor=1.0, by_epoch=True, end=1),
    cosine=dict(type='mmengine.CosineAnnealingLR', T_max='${max_epochs}', eta_min='${lr_end}', by_epoch=True),
)
param_scheduler = '${[schedules[schedule]]}'
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs='${max_epochs}', val_interval='${val_interval}')
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
val_evaluator = dict(type='medkit.BagMetric')
test_evaluator = dict(type='medkit.BagMetric')

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50, ignore_last=False),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(
        type='medkit.SafeCheckpointHook',
        interval='${val_interval}',
        max_keep_ckpts=1,
        save_best='${save_best}',
        rule='${"greater" if save_best else None}',
    ),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
)
custom_hooks = [dict(type='medkit.EpochSeedHook'), dict(type='medkit.RunFolderHook')]
randomness = dict(seed='${seed}', deterministic=False)
env_cfg = dict(
    cudnn_benchmark=False,  # bags differ in length
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='mmengine.LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
