# Brain volumes in batches of `batch_size`, each followed by anchors where alpha > 0: docs/volume_data.md.
# The folder holds volumes.csv, or is a tree of the ADNI archive, or any folder of volumes.
data_root = 'data/brain/'
target_size = (80, 96, 80)  # voxels left-right, back-front, bottom-top; multiples of divisor
divisor = '${2 ** len(channels)}'  # the model's stages halve each side so often
num_classes = 2
alpha = 1.0  # weight of the metric term; 0 trains without anchors
anchors_per_class = 1
classes = None  # names of the labels in order; None: all, sorted
others = 'refuse'  # labels that classes does not name: 'drop' or 'unlabelled'
table = None  # csv or tsv below data_root in place of volumes.csv
columns = dict()  # its own names of columns: dict(image='file', subject='participant_id', label='gender')
allow_label_change = False  # subjects with two labels
mixed_grids = False  # volumes of different shape or spacing
recipe = dict(crop='brain')  # settings of medkit.data.volume_recipe.VolumeRecipe
cache_dir = None  # of prepared volumes; None: data_root/.volume_cache
val_split = 'test'  # where the table has a split val: 'val'
batch_size = 8
num_workers = 2

volumes = dict(
    type='medkit.VolumeDataset',
    data_root='${data_root}',
    target_size='${target_size}',
    divisor='${divisor}',
    num_classes='${num_classes}',
    classes='${classes}',
    others='${others}',
    table='${table}',
    columns='${columns}',
    allow_label_change='${allow_label_change}',
    mixed_grids='${mixed_grids}',
    recipe='${recipe}',
    cache_dir='${cache_dir}',
)
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
    batch_sampler=dict(
        type='medkit.AnchorBatchSampler',
        num_classes='${num_classes}',
        anchors_per_class='${anchors_per_class if alpha > 0 or entropy_weight > 0 else 0}',
    ),
    collate_fn=dict(type='default_collate'),
    dataset=dict(volumes, split='train'),
)
val_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(volumes, split='${val_split}'),
)
