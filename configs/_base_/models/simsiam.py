# SimSiam (Chen and He 2021); the projector is as wide as ResNet-18's features: 512-512-2048.
model = dict(
    type='mmpretrain.SimSiam',
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck',
        in_channels='${features}',
        hid_channels=512,
        out_channels=2048,
        num_layers=3,
        with_last_bn_affine=False,
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',
        loss=dict(type='medkit.CosineSimilarityLoss'),
        predictor=dict(
            type='mmpretrain.NonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_avg_pool=False,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=dict(type='BN1d'),
        ),
    ),
)
