# Reaches: not measured on slides; docs/mil.md has the synthetic ones.
# Takes: not measured on slides; the head alone takes 4.4 s a step of 10 000 tiles of width 1024 on one core.
# Command: python tools/train.py configs/transmil_slides.py --data-root data/slides
# TransMIL (Shao et al. 2021): rate, decay, accumulation and epochs of the release. Its optimizer is Lookahead around
# RAdam; here RAdam alone. It stops after 10 epochs without gain; here all are trained and the best by AUROC is kept.
_base_ = ['./_base_/datasets/bags.py', './_base_/runtime_bags.py']
optimizer = 'RAdam'
lr = 2e-4
weight_decay = 1e-5
accumulate = 2
max_epochs = 200
model = dict(
    type='medkit.BagClassifier',
    head=dict(type='medkit.TransMIL', in_channels='${in_channels}', num_classes='${num_classes}'),
)
