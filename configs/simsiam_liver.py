# Reaches: not measured (no large liver set is public); docs/simsiam.md has numbers on breast ultrasound.
# Takes: not measured on a GPU. ResNet-18, 224 px, batch 256, 100 epochs over the unlabelled training images.
# Command: python tools/train.py configs/simsiam_liver.py  (several GPUs: bash tools/dist_train.sh ... 8)
_base_ = [
    './_base_/datasets/unlabelled.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/simsiam.py',
    './_base_/runtime_simsiam.py',
]
