# Two augmented views of each training image of a graded folder written by `python -m data_prep fundus`; grades are not
# read. The views suit fundus photographs: these have no up or down (any rotation, both flips), and cameras differ in
# colour (jitter as in SSiT). A crop keeps at least a quarter of the frame: of 8 % most would show no lesion.
data_root = 'data/fundus/'
img_size = 224
blur_sigma = 1.5  # largest sigma in pixels; about img_size / 150
batch_size = 256  # per GPU
num_workers = 8

load = dict(type='medkit.LoadMedicalImage')  # decoded once for both views
pack = dict(type='mmpretrain.PackInputs')
view = [
    dict(type='mmpretrain.RandomResizedCrop', scale='${img_size}', crop_ratio_range=(0.25, 1.0)),
    dict(
        type='mmengine.RandomApply',
        prob=0.8,
        transforms=[dict(type='mmpretrain.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)],
    ),
    dict(type='mmpretrain.RandomGrayscale', prob=0.2, keep_channels=True),
    dict(
        type='mmpretrain.GaussianBlur', magnitude_range=(0.1, '${blur_sigma}'), magnitude_std='inf', prob=0.5
    ),
    dict(
        type='mmpretrain.Rotate',
        magnitude_range=(0, 180),
        magnitude_std='inf',
        random_negative_prob=0.5,
        pad_val=0,
        prob=0.8,
    ),
    dict(type='mmpretrain.RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
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
        ann_file='labels.csv',
        data_prefix=dict(img='images/'),
        pipeline=['${load}', dict(type='mmpretrain.MultiView', num_views=2, transforms=['${view}']), '${pack}'],
    ),
)
