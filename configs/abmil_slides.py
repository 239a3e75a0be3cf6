# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured on slides; the head alone takes .29 s a step of 10 000 tiles of width 1024 on one core.
# Command: python tools/train.py configs/abmil_slides.py --data-root data/slides
# Gated ABMIL (Ilse et al. 2018): optimizer and epochs of the release, one slide per step.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
lr = 5e-4
weight_decay = 1e-4
max_epochs = 20
model = dict(
    type='medkit.BagClassifier',
    head=dict(type='medkit.ABMIL', in_channels='${in_channels}', num_classes='${num_classes}'),
)
