# Two views of each training image with its saliency map, as SSiT published them; image and map share all geometry.
# The folder is one that `python -m data_prep fundus` wrote: only images of split train in labels.csv are read.
data_root = 'data/fundus/'
img_size = 224
batch_size = 128  # per GPU
num_workers = 8
blur_sigma = 2.0  # largest sigma in pixels; about img_size / 112
ann_file = 'labels.csv'

load = dict(type='medkit.LoadMedicalImage')  # image and map are decoded once for both views
load_map = dict(type='medkit.LoadSaliency')
views = dict(
    type='medkit.SaliencyTwoViews',
    size='${img_size}',
    crop_scale=((0.08, 0.8), (0.8, 1.0)),
    blur_sigma=(0.1, '${blur_sigma}'),
)
pack = dict(type='medkit.PackSaliencyViews')
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,  # EpochSeedHook seeds the workers of each epoch
    drop_last=True,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='medkit.SaliencyImages',
        data_root='${data_root}',
        ann_file='${ann_file}',
        data_prefix=dict(img='images/', map='saliency/'),
        pipeline=['${load}', '${load_map}', '${views}', '${pack}'],
    ),
)
