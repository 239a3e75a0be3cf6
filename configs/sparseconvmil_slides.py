# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured.
# Command: python tools/train.py configs/sparseconvmil_slides.py --data-root data/slides
# SparseConvMIL (Lerousseau et al. 2021): all tiles of a slide on a map whose cells are the tiles' pitch, so that their
# arrangement counts; optimizer and epochs of the paper's experiment on CRC images. Needs coordinates.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
needs_coords = True
standardize = True  # otherwise it learns its training slides by heart: docs/mil.md
coords_unit = 'tile'
cell = 1.0  # side of a cell: the pitch of the tiles; pitch * sqrt(tiles / drawn tiles) with max_instances
lr = 1e-4
weight_decay = 5e-4
max_epochs = 100
model = dict(
    type='medkit.BagClassifier',
    head=dict(
        type='medkit.SparseConvMIL',
        in_channels='${in_channels}',
        num_classes='${num_classes}',
        cell='${cell}',
        augmentation=dict(),
    ),
)
