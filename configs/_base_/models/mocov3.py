# MoCo v3 (Chen, Xie and He 2021): each prediction picks the moving average's output for its other view in the batch.
# The average takes over 2 % of the network at first (published: 1 %), since a run has some hundred steps.
model = dict(
    type='mmpretrain.MoCoV3',
    base_momentum=0.02,
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck',
        in_channels='${features}',
        hid_channels=1024,
        out_channels=256,
        num_layers=3,
        with_last_bn_affine=False,
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',  # with this loss what MoCoV3Head computes, in float32
        loss=dict(type='medkit.InfoNCELoss', temperature=0.2, scale=0.1),  # SGD in place of LARS; published 2T
        predictor=dict(
            type='medkit.ProjectionNeck',
            in_channels=256,
            hid_channels=1024,
            out_channels=256,
            num_layers=2,
            with_last_bn_affine=False,
        ),
    ),
)
