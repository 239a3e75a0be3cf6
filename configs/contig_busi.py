# Reaches: not measured yet; docs/contig.md. Uses the diagnosis of each training image, so it is not label-free.
# Takes: 20 epochs of 14 steps; ResNet-18, breast ultrasound at 128 px, views and steps of simsiam_busi.py.
# Command: python tools/train.py configs/contig_busi.py --amp
# The vector is the diagnosis (benign, malignant, normal), all that BUSI says beside the image. An image-level diagnosis
# is a cheap label, taken from the pathology report without drawing a box; a comparison must say that it was used.
_base_ = ['./_base_/datasets/image_vectors.py', './_base_/models/contig_r18.py', './_base_/runtime_ssl.py']
data_root = 'data/busi/'
vectors = dict(
    _delete_=True, diagnosis=dict(categorical=dict(diagnosis=('benign', 'malignant', 'normal')))
)
num_features = 3
model = dict(
    modalities=dict(_delete_=True, diagnosis=dict(in_features='${num_features}', encoder='${vector_encoder}'))
)
img_size = 128
blur_sigma = 0.9
batch_size = 32
num_workers = 1
max_epochs = 20
lr = 1e-3
channels_last = True
optim_wrapper = dict(
    _delete_=True,
    type='mmengine.OptimWrapper',
    optimizer=dict(type='mmengine.Adam', lr='${lr}', weight_decay=1e-6),
)
auto_scale_lr = dict(enable=False)
custom_hooks = [
    dict(type='medkit.EpochSeedHook'),
    dict(type='medkit.RunFolderHook'),
    # three different vectors: no more than two directions are to be expected
    dict(
        type='medkit.CollapseMonitorHook',
        outputs=dict(z='neck.diagnosis', v='head.diagnosis'),
        min_rank=1.05,
    ),
]
