# Reaches: not measured on biopsies; docs/image_bags.md has bags of lung tiles.
# Takes: not measured; docs/image_bags.md has memory and time of a step.
# Command: python tools/train.py configs/concat_tile_images.py --data-root data/studies
# The way of most solutions of PANDA 2020: 12 to 36 tiles of a biopsy through one ResNet, pooled as one large image.
_base_ = ['./_base_/datasets/image_bags.py', './_base_/models/image_bags.py', './_base_/runtime_bags.py']
max_images = 36
pick = 'random'
augment = [  # each tile on its own: tissue has no up or down
    dict(type='medkit.RandomQuarterTurn'),
    dict(type='mmpretrain.ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, backend='cv2'),
]
head = dict(type='medkit.ConcatTileMIL', in_channels='${features}', num_classes='${num_classes}')
max_epochs = 30
lr = 3e-4
schedule = 'cosine'
