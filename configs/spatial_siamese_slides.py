# Reaches: not measured; the paper reports ADDR 1.50 on Camelyon16 (docs/pathology.md says why that is not comparable).
# Takes: not measured. ResNet-50, 224 px, 256 pairs per step. The paper's full text, so its schedule, was not at hand.
# Command: python tools/train.py configs/spatial_siamese_slides.py --data-root data/slides
_base_ = [
    './_base_/datasets/tile_pairs.py',
    './_base_/models/spatial_siamese.py',
    './_base_/runtime_ssl.py',
]
# From the sources: ResNet-50 with 128 outputs, limits of 2 and 10 mm, unsquared distance. Ours, since the sources are
# silent: start from random weights, the margin, 224 px at about 1 micrometre per pixel, Adam at 1e-4, 20 epochs of
# as many pairs as there are tiles. Tiles come as files; medkit does not cut slides.
features = 2048
encoder = dict(type='mmpretrain.ResNet', depth=50, norm_cfg=dict(type='BN'))
data_preprocessor = dict(
    type='mmpretrain.SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
max_epochs = 20
lr = 1e-4
optim_wrapper = dict(optimizer=dict(_delete_=True, type='mmengine.Adam', lr='${lr}'))
auto_scale_lr = dict(enable=False)
monitored = dict(_delete_=True, z='neck')
