# Reaches: see docs/selfsup.md, section "Results"; not measured where that table has no number.
# Takes: 20 epochs, as all methods on this set; about 6 minutes of CPU time. ResNet-18, breast ultrasound at 128 px.
# Command: python tools/train.py configs/byol_busi.py --data-root data/busi --amp
_base_ = [
    './_base_/datasets/unlabelled_busi.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/byol.py',
    './_base_/runtime_ssl.py',
]
max_epochs = 20
lr = 0.4  # per 256 images, so 0.05 here: few steps
