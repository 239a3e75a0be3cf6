# Reaches: AP50 .639 in report B ("flex", 67 122 private images); not measured here: no public set is that large.
# Takes: not measured on a GPU. ResNet-18, 512 px, 300 epochs; all weights train from the start, no pre-training.
# Command: python tools/train.py configs/centernet_liver.py --data-root data/liver
_base_ = [
    './_base_/datasets/lesions.py',
    './_base_/models/centernet_r18.py',
    './_base_/schedules/adamw_cosine.py',
    './_base_/runtime.py',
]
