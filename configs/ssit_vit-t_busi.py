# Reaches: not measured.
# Takes: not measured; about 7 minutes of CPU time by its steps (--amp). Small ViT, breast ultrasound at 112 px.
# Command: python tools/train.py configs/ssit_vit-t_busi.py --data-root data/busi --amp
# The maps are made before, by `python -m data_prep saliency data/busi`.
_base_ = [
    './_base_/datasets/fundus_saliency.py',
    './_base_/models/encoder_vit_t.py',
    './_base_/models/ssit.py',
    './_base_/runtime_ssit.py',
]
data_root = 'data/busi/'
ann_file = 'annotations/train.json'
img_size = 112
blur_sigma = 0.8
views = dict(  # safe for ultrasound: no small crops, no turning (the probe is on top), no colours
    crop_scale=((0.4, 0.8), (0.8, 1.0)),
    jitter=(0.4, 0.4, 0.0, 0.0),
    grey_prob=0.0,
    solarize_prob=(0.0, 0.0),
    rotation=0.0,
    vflip_prob=0.0,
)
batch_size = 32  # few images: many small steps
num_workers = 1
projector_width = 1024
max_epochs = 40
warmup_epochs = 4
lr = 8e-3  # per 512 images, so 5e-4 here: few steps
momentum = 0.98  # the average must follow within some hundred steps
data_preprocessor = dict(type='medkit.SaliencyDataPreprocessor')
