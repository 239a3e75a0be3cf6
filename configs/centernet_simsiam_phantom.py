# Reaches: test AP50 .700, macro F1 .737 on phantom images (docs/detection.md, seed 0); says nothing about patients.
# Takes: 8 min on two CPU cores with bfloat16, after SimSiam. ResNet-18 at stride 16, 128 px, unfrozen stage by stage.
# Command: python tools/train.py configs/centernet_simsiam_phantom.py, or `make demo`
_base_ = [
    './_base_/datasets/lesions.py',
    './_base_/models/centernet_r18.py',
    './_base_/schedules/adamw_cosine.py',
    './_base_/runtime.py',
]
data_root = 'data/phantom/'
img_size = 128
output_stride = 16
batch_size = 8
cache_dir = '${data_root}/cache'
num_workers = 1
max_epochs = 8
val_interval = 4
lr = 1e-3
warmup_iters = 100
pretrained = 'work_dirs/simsiam_phantom'
unfreeze = 'stepwise'
unfreeze_schedule = [1, 2, 3, 4]  # early: eight epochs are few
ema_momentum = 0.005
channels_last = True
find_unused_parameters = True
model = dict(backbone=dict(init_cfg=dict(type='medkit.PretrainedBackbone', checkpoint='${pretrained}')))
