# ResNet-18 as the encoder that is pre-trained; its weights load into the detectors' ResNet-18.
features = 512
encoder = dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='BN'), zero_init_residual=True)
channels_last = True
data_preprocessor = dict(
    type='mmpretrain.SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
