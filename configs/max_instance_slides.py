# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured.
# Command: python tools/train.py configs/max_instance_slides.py --data-root data/slides
# The surest tile speaks for the slide (Campanella et al. 2019); the optimizer of CLAM's release, which has it too.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
lr = 2e-4
weight_decay = 1e-5
max_epochs = 200
model = dict(
    type='medkit.BagClassifier',
    head=dict(
        type='medkit.MaxInstanceMIL',
        in_channels='${in_channels}',
        num_classes='${num_classes}',
    ),
)
