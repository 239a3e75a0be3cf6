# Reaches: not measured here; docs/selfsup.md, section "Results".
# Takes: about 6 minutes on one CPU core (--amp). ResNet-18, 10 % of a public set of fundus photographs at 112 px.
# Command: python tools/train.py configs/simsiam_fundus_dr10.py --data-root data/dr10 --amp
_base_ = [
    './_base_/datasets/unlabelled_fundus.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/simsiam.py',
    './_base_/runtime_simsiam.py',
]
data_root = 'data/dr10/'
img_size = 112
blur_sigma = 0.8
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 40
lr = 0.4  # per 256 images, so 0.05 here: few steps
channels_last = True
