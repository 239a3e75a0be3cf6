# ContIG (Taleb et al. 2022) on ResNet-18: images against one vector per subject, encoder H1, Adam, its hooks.
num_features = 3  # length of the vector: numeric columns and one per category; the log line of the data set says it
vector_encoder = 'H1'

model = dict(
    type='medkit.ContIG',
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='BN'), zero_init_residual=True),
    modalities=dict(clinical=dict(in_features='${num_features}', encoder='${vector_encoder}')),
    feat_channels=512,
    hid_channels=512,
    out_channels=128,
    temperature=0.1,
    alpha=0.75,  # of image -> vector
    gather=False,  # True: negatives from all GPUs; the paper has one
)
