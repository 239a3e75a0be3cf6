# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured.
# Command: python tools/train.py configs/clam_sb_slides.py --data-root data/slides
# CLAM with one branch (SB) of attention (Lu et al. 2021): optimizer of the release's command. It stops after 20 epochs
# without a lower loss of validation; here all epochs are trained and the best by AUROC is kept.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
lr = 2e-4
weight_decay = 1e-5
max_epochs = 200
subtyping = False  # True where classes exclude each other within a slide
model = dict(
    type='medkit.BagClassifier',
    head=dict(
        type='medkit.CLAM',
        in_channels='${in_channels}',
        num_classes='${num_classes}',
        subtyping='${subtyping}',
    ),
)
