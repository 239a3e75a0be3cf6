# Healthy (set B) and unlabelled mixed images (set A) for training, labelled ones for validation and test.
# The folder is one that `python -m data_prep anomaly` wrote, or folders of images: docs/anomaly_data.md. How many of
# the mixed images are anomalous is a matter of the set. Deep files are windowed and grey ones become 3 channels.
data_root = 'data/anomaly/'
img_size = 64
batch_size = 16  # pairs
num_workers = 2
flip_prob = 0.5  # left-right, of healthy and mixed images independently; 0 for methods fitted in one pass
drop_top = 0.0  # share of the rows cut off at the top: burned-in text
crop = False  # cut to the central square in place of squeezing
standardize = False  # the same mean and contrast for every image, where gain or exposure is the operator's choice
mixed = True  # False: methods that learn from healthy images alone

load = dict(type='medkit.LoadMedicalImage')
square = dict(type='medkit.SquareResize', size='${img_size}', drop_top='${drop_top}', crop='${crop}')
standard = dict(type='medkit.StandardizeIntensity')
steps = '${[load, square] + [standard] * standardize}'
flip = dict(type='mmpretrain.RandomFlip', prob='${flip_prob}', direction='horizontal')
train_dataloader = dict(
    batch_size='${batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='mmengine.InfiniteSampler', shuffle=True),  # the loop counts iterations
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='medkit.AnomalyPairs',
        data_root='${data_root}',
        mixed='${mixed}',
        pipeline='${steps + [flip]}',
    ),
)

# Validation: labelled images, and some of the training ones for AUCp, which needs no label of a diseased image.
eval_batch_size = 32
aucp_images = 200  # at most so many healthy and mixed ones
val_dataloader = dict(
    batch_size='${eval_batch_size}',
    num_workers='${num_workers}',
    persistent_workers=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(
        type='medkit.AnomalyImages',
        data_root='${data_root}',
        roles='${("val", "healthy", "mixed") if mixed else ("val",)}',
        limit=dict(healthy='${aucp_images}', mixed='${aucp_images}'),
        pipeline='${steps}',
    ),
)
val_cfg = dict(type='mmengine.ValLoop')
val_evaluator = dict(type='medkit.AnomalyMetric')
