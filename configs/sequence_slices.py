# Reaches: not measured.
# Takes: not measured; docs/image_bags.md has memory and time of a step.
# Command: python tools/train.py configs/sequence_slices.py --data-root data/studies
# Slices in their order, as the third place of RSNA 2022 (cervical spine): an LSTM along the slices, a label of the
# study, and with instance_classes=1 one of each slice. There the backbone was trained before and frozen; frozen=True
# does that here.
_base_ = ['./_base_/datasets/image_bags.py', './_base_/models/image_bags.py', './_base_/runtime_bags.py']
max_images = 64
same_augmentation = True  # or neighbouring slices would not lie over each other
augment = [
    dict(type='mmpretrain.RandomResizedCrop', scale='${img_size}', crop_ratio_range=(0.7, 1.0)),
    dict(type='mmpretrain.ColorJitter', brightness=0.2, contrast=0.2, backend='cv2'),
]
batch_size = 2
accumulate = 4
chunk_size = 32
checkpointing = True
frozen_bn = '${pretrained is not None}'  # slices of 2 studies are too alike to make statistics of
instance_classes = 0  # columns of labels in images.csv
head = dict(
    type='medkit.SequenceMIL',
    in_channels='${features}',
    num_classes='${num_classes}',
    instance_classes='${instance_classes}',
)
max_epochs = 30
lr = 1e-4
schedule = 'cosine'
