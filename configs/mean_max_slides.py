# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured.
# Command: python tools/train.py configs/mean_max_slides.py --data-root data/slides
# Mean and maximum of the features, one linear layer: what every other head has to beat. Nothing is published to follow;
# the optimizer is that of abmil_slides.py.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
model = dict(
    type='medkit.BagClassifier',
    head=dict(
        type='medkit.PoolingMIL',
        in_channels='${in_channels}',
        num_classes='${num_classes}',
        pooling='mean_max',
    ),
)
