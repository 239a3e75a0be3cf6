# Bags of features, one file per slide, under one label: docs/mil.md. The folder holds bags.csv (slide_id, label and,
# where wanted, case_id, split, file) and features/SLIDE.h5; CLAM's and DSMIL's own folders are read too.
data_root = 'data/slides/'
in_channels = 1024  # width of the features, as the encoder gave them
standardize = False  # features to mean 0, deviation 1; off, as published
num_classes = 2
classes = None  # names of the labels, the negative one first; None: all, sorted
table = None  # csv below data_root in place of bags.csv: CLAM's labels, DSMIL's index
split_file = None  # CLAM's csv of splits below data_root
features = None  # folder of the features; None: features, h5_files or pt_files
incomplete = 'refuse'  # slides without features or label: 'refuse' or 'drop'
fractions = (0.6, 0.2, 0.2)  # train, val, test by patient, where neither the table nor a file divides
split_seed = 0
val_split = 'val'
test_split = 'test'
needs_coords = False  # the head uses the tiles' positions
coords_unit = 'px'  # of level 0; or 'tile': sides of a tile, the same tissue on slides of any scanner
max_instances = None  # tiles of a slide in a training step, drawn anew; None: all
balanced = True  # slides of each class equally often
batch_size = 1  # slides, padded to the longest
num_workers = 2
cache_mb = 512  # a split with no more MiB of features is kept in memory

bags = dict(
    type='medkit.BagDataset',
    data_root='${data_root}',
    in_channels='${in_channels}',
    needs_coords='${needs_coords}',
    coords_unit='${coords_unit}',
    num_classes='${num_classes}',
    classes='${classes}',
    table='${table}',
    split_file='${split_file}',
    features='${features}',
    incomplete='${incomplete}',
    fractions='${fractions}',
    seed='${split_seed}',
    cache_mb='${cache_mb}',
)
model = dict(standardize='${standardize}')
samplers = dict(
    balanced=dict(type='medkit.ClassBalancedSampler'), plain=dict(type='mmengine.DefaultSampler', shuffle=True)
)
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    sampler='${samplers["balanced" if balanced else "plain"]}',
    dataset=dict(bags, split='train', max_instances='${max_instances}'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers='${num_workers}',
    persistent_workers=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(bags, split='${val_split}'),
)
test_dataloader = dict(val_dataloader, dataset=dict(bags, split='${test_split}'))
