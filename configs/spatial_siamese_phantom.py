# Reaches: see docs/pathology.md, section "Does it learn tissue?".
# Takes: see the same section; meant for one CPU core. ResNet-18, phantom slides at 64 px.
# Command: python tools/train.py configs/spatial_siamese_phantom.py --data-root data/slide_phantom --amp
_base_ = [
    './_base_/datasets/tile_pairs.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/spatial_siamese.py',
    './_base_/runtime_ssl.py',
]
data_root = 'data/slide_phantom/'
img_size = 64
batch_size = 32
num_workers = 1
pairs_per_epoch = 1600
max_epochs = 6
lr = 5e-4
optim_wrapper = dict(optimizer=dict(_delete_=True, type='mmengine.Adam', lr='${lr}'))
auto_scale_lr = dict(enable=False)
monitored = dict(_delete_=True, z='neck')
channels_last = True
