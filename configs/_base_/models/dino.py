# DINO (Caron et al. 2021): predicts the distribution over prototypes that a moving average gives to the other view.
# 1024 prototypes for some hundred images (published: 65536), two views without the small crops, and the average takes
# over 2 % of the network at first (published: 0.4 %), since a run has some hundred steps.
batch_norm = '${encoder.type == "mmpretrain.ResNet"}'  # in the projector, as the official code: for convolutions only
model = dict(
    type='medkit.DINO',
    base_momentum=0.02,
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.DINONeck',
        in_channels='${features}',
        hid_channels=1024,
        out_channels=256,
        batch_norm='${batch_norm}',
    ),
    head=dict(
        type='medkit.DINOHead',
        in_channels=256,
        num_prototypes=1024,
        loss_weight=0.1,  # plain SGD: gradients of the size of SimSiam's; AdamW does not see it
        warmup_teacher_temp_epochs='${max_epochs // 3}',
    ),
)
