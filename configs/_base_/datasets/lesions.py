# Lesion boxes of a set prepared by `python -m data_prep`; grey images are replicated to three channels on loading.
data_root = 'data/liver/'
classes = ('cyst', 'HCC', 'hemangioma', 'metastasis')
class_map = None  # 'lesion' merges all categories into one class
img_size = 512  # a multiple of 32
batch_size = 16  # per GPU
num_workers = 4
pad_val = 0
cache_dir = None  # a folder: decode each original once, not once per epoch

test_meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'batch_input_shape', 'instances')

# Area interpolation: speckle would alias when a frame shrinks. cache_dir keeps the shrunken images for the next epoch.
load = dict(
    type='medkit.LoadResized', scale=('${img_size}', '${img_size}'), interpolation='area', cache_dir='${cache_dir}'
)
pad = dict(type='mmdet.Pad', size=('${img_size}', '${img_size}'), pad_val=dict(img='${pad_val}'))
train_pipeline = [
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    load,
    pad,
    dict(type='mmdet.RandomFlip', prob=0.5),  # left-right only: the probe is always on top
    dict(type='medkit.RandomScaleShift', scale=(0.8, 1.25), shift=0.1),
    dict(type='medkit.UltrasoundIntensity'),
    dict(type='mmdet.PackDetInputs'),
]
test_pipeline = [
    load,
    pad,
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=test_meta),
]

train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,  # workers are seeded anew each epoch, so that a resumed run repeats the uninterrupted one
    drop_last=True,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
    dataset=dict(
        type='medkit.LesionDataset',
        data_root='${data_root}',
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes='${classes}'),
        class_map='${class_map}',
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(
        type='medkit.LesionDataset',
        data_root='${data_root}',
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes='${classes}'),
        class_map='${class_map}',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(
        type='medkit.LesionDataset',
        data_root='${data_root}',
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes='${classes}'),
        class_map='${class_map}',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='medkit.LesionMetric')
test_evaluator = dict(type='medkit.LesionMetric')
