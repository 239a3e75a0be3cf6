# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured on slides; the head alone takes .15 s a step of 10 000 tiles of width 1024 on one core.
# Command: python tools/train.py configs/dsmil_slides.py --data-root data/slides
# DSMIL (Li et al. 2021): optimizer, schedule and epochs of the release, which stops after 10 epochs without gain; here
# all are trained and the best by AUROC is kept. The head's classes are those that a slide may show: class 0 is the
# absence of them all and has no logit. Where class 0 is a kind of its own, as in subtyping: negative_class=False.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
negative_class = True
lr = 1e-4
betas = (0.5, 0.9)
weight_decay = 1e-3
schedule = 'cosine'
max_epochs = 50
model = dict(
    type='medkit.BagClassifier',
    head=dict(
        type='medkit.DSMIL',
        in_channels='${in_channels}',
        num_classes='${num_classes - negative_class}',
    ),
    negative_class='${negative_class}',
)
