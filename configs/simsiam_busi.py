# Reaches: k-NN accuracy .644 on 118 held-out images (untrained .610, within chance); see docs/simsiam.md.
# Takes: 5.9 minutes of CPU time on two cores with AMX (--amp). ResNet-18, breast ultrasound at 128 px.
# Command: python tools/train.py configs/simsiam_busi.py --amp
_base_ = [
    './_base_/datasets/unlabelled_busi.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/simsiam.py',
    './_base_/runtime_simsiam.py',
]
max_epochs = 20
lr = 0.4  # per 256 images, so 0.05 here: few steps
