# Reaches: ADDR 1.66 +- .02 (untrained 1.14), tumour among the first five .96 +- .01 (.64); docs/pathology.md.
# Takes: 6 minutes of CPU time with --amp on one core. ResNet-18 of quarter width, phantom slides at 64 px.
# Command: python tools/train.py configs/spatial_siamese_phantom.py --data-root data/slide_phantom --amp
_base_ = [
    './_base_/datasets/tile_pairs.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/spatial_siamese.py',
    './_base_/runtime_ssl.py',
]
data_root = 'data/slide_phantom/'
features = 128  # a quarter of the width: many cheap steps tell more here than few of the whole ResNet-18
# Residual blocks start whole: an untrained network then tells textures apart already, the stronger comparison.
encoder = dict(base_channels=16, stem_channels=16, zero_init_residual=False)
img_size = 64
batch_size = 32
num_workers = 1
pairs_per_epoch = 3200
max_epochs = 30
# The squared form, as Hadsell et al. 2006; the paper's plain distances are in docs/pathology.md.
margin = 2.0
power = 2
jitter = 0.15
lr = 1e-3
optim_wrapper = dict(optimizer=dict(_delete_=True, type='mmengine.Adam', lr='${lr}'))
auto_scale_lr = dict(enable=False)
monitored = dict(_delete_=True, z='neck')
channels_last = True
