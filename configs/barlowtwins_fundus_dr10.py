# Reaches: see docs/selfsup.md, section "Results"; not measured where that table has no number.
# Takes: 40 epochs, as all methods on this set; about 6 minutes of CPU time. ResNet-18, fundus photographs at 112 px.
# Command: python tools/train.py configs/barlowtwins_fundus_dr10.py --data-root data/dr10 --amp
_base_ = [
    './_base_/datasets/unlabelled_dr10.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/barlowtwins.py',
    './_base_/runtime_ssl.py',
]
max_epochs = 40
lr = 0.4  # per 256 images, so 0.05 here: few steps
