# Studies of several images under one label: docs/image_bags.md. The folder holds bags.csv (slide_id, label and, where
# wanted, case_id, split, weight) and images.csv (slide_id, file and, where wanted, order, label), or images/SLIDE_ID/.
data_root = 'data/studies/'
img_size = 128
num_classes = 2
classes = None  # names of the labels, the negative one first; None: all, sorted
table = None  # csv below data_root in place of bags.csv
split_file = None  # CLAM's csv of splits below data_root
fractions = (0.6, 0.2, 0.2)  # train, val, test by patient, where neither the table nor a file divides
split_seed = 0
val_split = 'val'
test_split = 'test'
max_images = None  # of a study; None: all
pick = 'even'  # which ones: spread evenly, or in training 'random'
same_augmentation = False  # one draw for all images of a study
balanced = True  # studies of each class equally often
batch_size = 8  # studies, padded to the longest
num_workers = 2

load = [
    dict(type='medkit.LoadMedicalImage'),
    dict(type='mmpretrain.Resize', scale=('${img_size}', '${img_size}'), interpolation='area'),
]
augment = []
studies = dict(
    type='medkit.ImageBagDataset',
    data_root='${data_root}',
    num_classes='${num_classes}',
    classes='${classes}',
    table='${table}',
    split_file='${split_file}',
    fractions='${fractions}',
    seed='${split_seed}',
    max_images='${max_images}',
)
samplers = dict(
    balanced=dict(type='medkit.ClassBalancedSampler'), plain=dict(type='mmengine.DefaultSampler', shuffle=True)
)
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,  # EpochSeedHook seeds the workers of each epoch
    sampler='${samplers["balanced" if balanced else "plain"]}',
    dataset=dict(
        studies,
        split='train',
        pick='${pick}',
        same_augmentation='${same_augmentation}',
        pipeline='${load + augment}',
    ),
)
val_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(studies, split='${val_split}', test_mode=True, pipeline='${load}'),
)
test_dataloader = dict(
    val_dataloader, dataset=dict(studies, split='${test_split}', test_mode=True, pipeline='${load}')
)
