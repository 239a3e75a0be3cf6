# MAE (He et al. 2022): reconstructs the three quarters of the patches that the transformer does not see. Needs one view
# and a transformer: a config sets train_dataloader.dataset.pipeline to '${[load] + view + [pack]}'.
model = dict(
    type='mmpretrain.MAE',
    data_preprocessor='${data_preprocessor}',
    backbone=dict(
        type='mmpretrain.MAEViT',
        arch='${encoder.arch}',
        img_size='${img_size}',
        patch_size='${patch_size}',
        mask_ratio=0.75,
    ),
    neck=dict(
        type='mmpretrain.MAEPretrainDecoder',
        num_patches='${(img_size // patch_size) ** 2}',
        patch_size='${patch_size}',
        embed_dim='${features}',
        decoder_embed_dim=128,
        decoder_depth=4,
        decoder_num_heads=4,
    ),
    head=dict(
        type='mmpretrain.MAEPretrainHead',
        norm_pix=True,
        patch_size='${patch_size}',
        loss=dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2'),
    ),
    init_cfg=[
        dict(type='Xavier', layer='Linear', distribution='uniform'),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
