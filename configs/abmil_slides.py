# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured; a step of 10 000 tiles of width 1024 takes about .4 s and 198 MiB on one core.
# Command: python tools/train.py configs/abmil_slides.py --data-root data/slides
# Gated ABMIL (Ilse et al. 2018) with the optimizer and epochs of the release.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
model = dict(
    type='medkit.BagClassifier',
    head=dict(type='medkit.ABMIL', in_channels='${in_channels}', num_classes='${num_classes}'),
)
