# ContIG's optimizer: Adam over all parameters, lr not scaled with the batch. Images and vectors are watched for
# collapse; vectors that take few values leave little room, so only the same output for all images is a warning.
_base_ = ['./runtime_ssl.py']
lr = 1e-3

optim_wrapper = dict(
    _delete_=True,
    type='mmengine.OptimWrapper',
    optimizer=dict(type='mmengine.Adam', lr='${lr}', weight_decay=1e-6),
)
auto_scale_lr = dict(enable=False)
monitored = dict(z='neck.clinical', v='head.clinical')
hooks = [
    dict(type='medkit.EpochSeedHook'),
    dict(type='medkit.RunFolderHook'),
    dict(type='medkit.CollapseMonitorHook', outputs='${monitored}', warn_below=0.02, min_rank=1.0),
]
