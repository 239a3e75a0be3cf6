# Reaches: not measured by itself; docs/selfsup.md compares what the detector makes of it.
# Takes: 20 epochs on two CPU cores, about as simsiam_busi.py. ResNet-18, breast ultrasound at 128 px.
# Command: python tools/train.py configs/barlowtwins_busi.py --data-root data/busi --amp
_base_ = [
    './_base_/datasets/unlabelled.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/barlowtwins.py',
    './_base_/runtime_ssl.py',
]
data_root = 'data/busi/'
img_size = 128
blur_sigma = 0.9
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 20
lr = 0.4  # per 256 images, so 0.05 here: few steps
channels_last = True
