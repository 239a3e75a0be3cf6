# Reaches: see docs/selfsup.md, section "Results"; not measured where that table has no number.
# Takes: 40 epochs, as all methods on this set; about 6 minutes of CPU time (--amp). Small ViT, fundus photos at 112 px.
# Command: python tools/train.py configs/ssit_vit-t_fundus_dr10.py --data-root data/dr10 --amp
_base_ = [
    './_base_/datasets/fundus_saliency.py',
    './_base_/models/encoder_vit_t.py',
    './_base_/models/ssit.py',
    './_base_/runtime_ssit.py',
]
data_root = 'data/dr10/'
img_size = 112
blur_sigma = 0.8
views = dict(crop_scale=((0.25, 0.8), (0.8, 1.0)))  # 8 % of 112 px is too little; the other methods begin at 25 %
batch_size = 32  # few images: many small steps
num_workers = 1
projector_width = 1024
max_epochs = 40
warmup_epochs = 4
lr = 8e-3  # per 512 images, so 5e-4 here: few steps
momentum = 0.98  # the average must follow within some hundred steps
data_preprocessor = dict(type='medkit.SaliencyDataPreprocessor')
