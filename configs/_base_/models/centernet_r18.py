# CenterNet on ResNet-18 with three plain up-sampling steps, 14.2 M parameters (the "mmdet r18" of the four variants in
# use; neck.use_dcn=True gives mmdet's r18-dcnv2). The heat map has stride 4.
# output_stride of the backbone: 32 as published, for 512 px. With 16, for inputs of 128 to 256 px, layer4 is dilated
# instead of strided and one up-sampling step falls away: at 128 px the bottleneck is 8 x 8; from 4 x 4 small lesions
# were not learnt (docs/detection.md). The backbone's weights have the same names and shapes either way.
output_stride = 32
model = dict(
    type='mmdet.CenterNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        num_stages=4,
        strides='${(1, 2, 2, 2) if output_stride == 32 else (1, 2, 2, 1)}',
        dilations='${(1, 1, 1, 1) if output_stride == 32 else (1, 1, 1, 2)}',
        out_indices=(3,),
        frozen_stages=-1,  # StepwiseUnfreezeHook freezes, after the optimizer and DDP have seen every parameter
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
    ),
    neck=dict(
        type='mmdet.CTResNetNeck',
        in_channels=512,
        num_deconv_filters='${(256, 128, 64) if output_stride == 32 else (256, 64)}',
        num_deconv_kernels='${(4, 4, 4) if output_stride == 32 else (4, 4)}',
        use_dcn=False,
    ),
    bbox_head=dict(
        type='medkit.CenterNetHead',
        num_classes='${len(classes)}',
        in_channels=64,
        feat_channels=64,
        loss_center_heatmap=dict(type='mmdet.GaussianFocalLoss', loss_weight=1.0),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.1),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0),
    ),
    train_cfg=None,
    test_cfg=dict(topk=100, local_maximum_kernel=3, max_per_img=100),
)
