# Two views of each slide in batches of different patients: banks of features, or ordinary bags (docs/gigassl.md).
data_root = 'data/slides/'
split = 'train'  # None: all slides, those that the probe is tested on too
num_tiles = 5  # of a view; embeddings are made of as many
feature_dropout = 0.1  # share of the channels that a view of an ordinary bag loses; banks lose none
side_px = None  # side of a tile in level-0 pixels, for bags that do not say theirs
batch_size = 256  # at most the number of patients
num_workers = 2

train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,  # EpochSeedHook seeds the workers of each epoch
    drop_last=True,
    sampler=dict(type='medkit.SubjectSampler', batch_size='${batch_size}'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='medkit.FeatureBankDataset',
        data_root='${data_root}',
        split='${split}',
        num_tiles='${num_tiles}',
        with_coords='${aggregator == "sparse"}',
        width='${features}',
        side_px='${side_px}',
        feature_dropout='${feature_dropout}',
    ),
)
