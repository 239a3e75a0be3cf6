# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured on slides; the head alone takes .55 s a step of 10 000 tiles of width 1024 on one core.
# Command: python tools/train.py configs/clam_mb_slides.py --data-root data/slides
# CLAM with a branch of attention for each class (MB); the rest as in clam_sb_slides.py.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
lr = 2e-4
weight_decay = 1e-5
max_epochs = 200
subtyping = False  # True where classes exclude each other within a slide
attended_class = 1  # whose attention is shown: the positive one; None: the predicted
model = dict(
    type='medkit.BagClassifier',
    head=dict(
        type='medkit.CLAM',
        in_channels='${in_channels}',
        num_classes='${num_classes}',
        multi_branch=True,
        subtyping='${subtyping}',
    ),
    attended_class='${attended_class}',
)
