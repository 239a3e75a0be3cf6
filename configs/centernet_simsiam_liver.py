# Reaches: AP50 .568 in report B ("stepwise", private images); docs/detection.md has what we measured on public ones.
# Takes: not measured on a GPU. ResNet-18 from SimSiam, unfrozen stage by stage, 512 px, 300 epochs.
# Command: python tools/train.py configs/centernet_simsiam_liver.py  (first: tools/train.py configs/simsiam_liver.py)
_base_ = [
    './_base_/datasets/lesions.py',
    './_base_/models/centernet_r18.py',
    './_base_/schedules/adamw_cosine.py',
    './_base_/runtime.py',
]
pretrained = 'work_dirs/simsiam_liver'  # a run folder or a checkpoint file
unfreeze = 'stepwise'
find_unused_parameters = True  # DDP must expect the frozen stages to have no gradient
model = dict(backbone=dict(init_cfg=dict(type='medkit.PretrainedBackbone', checkpoint='${pretrained}')))
