# Barlow Twins (Zbontar et al. 2021): the correlation of two views' outputs should be the identity matrix.
# The published projector is 8192 wide for batches of 2048. A batch of B has correlations of rank B - 1, so that of C
# channels some C^2 / B off the diagonal cannot vanish; the narrower one keeps this floor small at B = 32.
model = dict(
    type='mmpretrain.BarlowTwins',
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck',
        in_channels='${features}',
        hid_channels=512,
        out_channels=512,
        num_layers=3,
        with_last_bn=False,
    ),
    head=dict(
        type='medkit.CrossCorrelationHead',
        in_channels=512,
        loss=dict(type='mmpretrain.CrossCorrelationLoss', lambd=0.0051),
        loss_weight=1 / 512,
    ),
)
