# Two augmented views of each training image of a set written by `python -m data_prep`; labels are not read.
# The views are safe for B-mode ultrasound: a crop keeps at least 40 % of the frame (a small one misses the
# lesion), no vertical flip (the probe is on top), no hue or saturation (the images are grey), little blur.
data_root = 'data/liver/'
img_size = 224
blur_sigma = 1.5  # largest sigma in pixels; about img_size / 150
batch_size = 256  # per GPU
num_workers = 8

load = dict(type='medkit.LoadMedicalImage')  # decoded once for both views
pack = dict(type='mmpretrain.PackInputs')
view = [
    dict(type='mmpretrain.RandomResizedCrop', scale='${img_size}', crop_ratio_range=(0.4, 1.0)),
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='medkit.UltrasoundIntensity'),
    dict(
        type='mmpretrain.GaussianBlur', magnitude_range=(0.1, '${blur_sigma}'), magnitude_std='inf', prob=0.5
    ),
]
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,  # EpochSeedHook seeds the workers of each epoch
    drop_last=True,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='medkit.UnlabelledImages',
        data_root='${data_root}',
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        pipeline=['${load}', dict(type='mmpretrain.MultiView', num_views=2, transforms=['${view}']), '${pack}'],
    ),
)
