# Pairs of tiles of a slide, near or far, each tile altered on its own. train.csv is described in docs/pathology.md;
# slides of val.csv and test.csv, where those exist, are refused.
data_root = 'data/slides/'
img_size = 224
batch_size = 256  # pairs per GPU
num_workers = 8
near_mm = 2.0
far_mm = 10.0
pairs_per_epoch = None  # None: as many as there are tiles
mpp = None  # None: the table's; a number or a dict by slide goes before it
jitter = 0.3  # parts of brightness, contrast and saturation; a quarter of it for hue. The paper's is not known
stain = []  # e.g. [dict(type='medkit.ReinhardNormalize', target=dict(mean=[...], std=[...]), statistics='...')]

load = [dict(type='medkit.LoadMedicalImage'), dict(type='mmpretrain.Resize', scale=('${img_size}', '${img_size}'))]
augment = [
    dict(type='medkit.RandomQuarterTurn'),
    dict(
        type='mmpretrain.ColorJitter',
        brightness='${jitter}',
        contrast='${jitter}',
        saturation='${jitter}',
        hue='${jitter / 4}',
        backend='cv2',
    ),
]
pack = [dict(type='mmpretrain.PackInputs', algorithm_keys=['similar'])]
both = [
    dict(
        type='mmpretrain.ApplyToList',
        scatter_key='img_path',
        collate_keys=['img'],
        transforms='${load + stain + augment}',
    )
]
test_pipeline = '${load + stain + pack}'  # one tile at a time: tools/benchmark_pathology.py
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,  # EpochSeedHook seeds the workers of each epoch
    drop_last=True,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),  # near and far pairs alternate
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='medkit.TilePairs',
        table='train.csv',
        data_root='${data_root}',
        near_mm='${near_mm}',
        far_mm='${far_mm}',
        pairs_per_epoch='${pairs_per_epoch}',
        mpp='${mpp}',
        pipeline='${both + pack}',
    ),
)
