# Reaches: not measured here; docs/selfsup.md, section "Results".
# Takes: about 6 minutes on one CPU core (--amp). The small transformer of ssit_vit-t_fundus_dr10.py, for comparison.
# Command: python tools/train.py configs/simsiam_vit-t_fundus_dr10.py --data-root data/dr10 --amp
_base_ = [
    './_base_/datasets/unlabelled_fundus.py',
    './_base_/models/encoder_vit_t.py',
    './_base_/models/simsiam.py',
    './_base_/runtime_ssl_adamw.py',
]
data_root = 'data/dr10/'
img_size = 112
blur_sigma = 0.8
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 40
lr = 4e-3  # per 256 images, so 5e-4 here
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True))))
method_hooks = [dict(type='medkit.FixPredictorLRHook')]
