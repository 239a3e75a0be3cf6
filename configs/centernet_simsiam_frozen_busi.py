# Reaches: test AP50 .343, macro F1 .555 (docs/detection.md, 59 test images, mean of 3 seeds).
# Takes: 6 min of CPU time with bfloat16. As centernet_busi.py, from SimSiam, the backbone frozen for the whole run.
# Command: python tools/train.py configs/centernet_simsiam_frozen_busi.py --data-root data/busi  (after simsiam_busi.py)
_base_ = ['./centernet_busi.py']
pretrained = 'work_dirs/simsiam_busi'
unfreeze = 'fix'
find_unused_parameters = True
model = dict(backbone=dict(init_cfg=dict(type='medkit.PretrainedBackbone', checkpoint='${pretrained}')))
