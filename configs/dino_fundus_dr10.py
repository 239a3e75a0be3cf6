# Reaches: see docs/selfsup.md, section "Results"; not measured where that table has no number.
# Takes: 40 epochs, as all methods on this set; about 6 minutes of CPU time. Small ViT, fundus photographs at 112 px.
# Command: python tools/train.py configs/dino_fundus_dr10.py --data-root data/dr10 --amp
_base_ = [
    './_base_/datasets/unlabelled_dr10.py',
    './_base_/models/encoder_vit_t.py',
    './_base_/models/dino.py',
    './_base_/runtime_ssl_adamw.py',
]
max_epochs = 40
lr = 4e-3  # per 256 images, so 5e-4 here
