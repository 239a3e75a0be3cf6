# One augmented view of each training image, with the vectors of its subject; two images of one are never in a batch.
# The view is that of unlabelled.py, safe for B-mode ultrasound, so that methods are compared on equal terms.
data_root = 'data/liver/'
ann_file = 'annotations/train.json'
img_size = 224
blur_sigma = 1.5  # largest sigma in pixels; about img_size / 150
batch_size = 64  # per GPU
num_workers = 8
# Modality -> table (file, key, columns, ...); without a file: columns of ann_file. See docs/contig.md.
vectors = dict(clinical=dict(columns=('age', 'sex', 'diagnosis')))
join = 'outer'  # images that have any of the modalities; 'inner': all of them

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
    sampler=dict(type='medkit.SubjectSampler', batch_size='${batch_size}', round_up=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='medkit.ImageVectors',
        data_root='${data_root}',
        ann_file='${ann_file}',
        data_prefix=dict(img='images/'),
        vectors='${vectors}',
        join='${join}',
        pipeline=[
            dict(type='medkit.LoadMedicalImage'),
            *view,
            dict(type='mmpretrain.PackInputs', algorithm_keys=('vectors',)),
        ],
    ),
)
