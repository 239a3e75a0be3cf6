# SSiT (Huang et al. 2024) on any `encoder` of the fragments beside this one; projector and predictor as published.
projector_width = 4096
projection = 256
mask_ratio = 0.25  # share of patches hidden from the momentum encoder; 1 hides none
model = dict(
    type='medkit.SSiT',
    mask_ratio='${mask_ratio}',
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck',
        in_channels='${features}',
        hid_channels='${projector_width}',
        out_channels='${projection}',
        num_layers=3,
        with_last_bn_affine=False,
    ),
    head=dict(
        type='medkit.SSiTHead',
        in_channels='${features}',
        patch_size='${patch_size}',
        predictor=dict(
            type='medkit.ProjectionNeck',
            in_channels='${projection}',
            hid_channels='${projector_width}',
            out_channels='${projection}',
            num_layers=2,
            with_last_bn_affine=False,
        ),
        loss=dict(type='medkit.InfoNCELoss', temperature=0.2),
        saliency_threshold=0.5,
    ),
)
