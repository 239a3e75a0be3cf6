# Reaches: not measured.
# Takes: not measured; docs/image_bags.md has memory and time of a step.
# Command: python tools/train.py configs/attention_max_images.py --data-root data/studies
# A grade, as the second place of PANDA 2020: attention beside maximum, cross-entropy on the grade and squared error of
# a regressed value that reaches one grade beyond both ends.
_base_ = ['./concat_tile_images.py']
num_classes = 6
head = dict(
    _delete_=True,
    type='medkit.AttentionMaxMIL',
    in_channels='${features}',
    num_classes='${num_classes}',
    grade_range='${(-1, num_classes)}',
)
loss_weights = dict(loss_grade=1.0)
val_evaluator = dict(ordinal=True)
test_evaluator = dict(ordinal=True)
save_best = 'bags/kappa'
