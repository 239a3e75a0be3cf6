# Reaches: not measured by itself; `make demo` runs it before the detector.
# Takes: see docs/detection.md, section "Demo"; meant for two CPU cores. ResNet-18, phantom images at 96 px.
# Command: python tools/train.py configs/simsiam_phantom.py --amp, or `make demo`
_base_ = [
    './_base_/datasets/unlabelled.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/simsiam.py',
    './_base_/runtime_simsiam.py',
]
data_root = 'data/phantom/'
img_size = 96
blur_sigma = 0.7
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 1
lr = 0.4  # per 256 images, so 0.05 here
