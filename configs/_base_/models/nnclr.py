# NNCLR (Dwibedi et al. 2021): as SimCLR, the positive being the nearest of the last outputs. The published queue
# holds 98304 of ImageNet's 1.28 million; this one holds fewer outputs than the smallest set here has images.
model = dict(
    type='medkit.NNCLR',
    queue_size=128,
    temperature=0.1,
    loss_weight=0.1,  # plain SGD in place of LARS: gradients of the size of SimSiam's
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck', in_channels='${features}', hid_channels=512, out_channels=256, num_layers=3
    ),
    head=dict(
        type='medkit.NNCLRHead',
        predictor=dict(
            type='medkit.ProjectionNeck',
            in_channels=256,
            hid_channels=1024,
            out_channels=256,
            num_layers=2,
            with_last_bn=False,
            with_last_bias=True,
        ),
    ),
)
