# BYOL (Grill et al. 2020): predicts the outputs of a moving average of the network for the other view.
# The average takes over 2 % of the network at first (published: 0.4 %), since a run has some hundred steps, not 10^5.
model = dict(
    type='mmpretrain.BYOL',
    base_momentum=0.02,
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck',
        in_channels='${features}',
        hid_channels=1024,
        out_channels=256,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',
        loss=dict(type='medkit.CosineSimilarityLoss', scale_factor=0.25),  # SimSiam's scale; LARS does not see it
        predictor=dict(
            type='medkit.ProjectionNeck',
            in_channels=256,
            hid_channels=1024,
            out_channels=256,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_last_bias=True,
        ),
    ),
)
