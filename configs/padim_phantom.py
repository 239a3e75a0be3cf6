# Reaches: AUC .64 [.58, .71] on phantom squares with a SimSiam backbone, .50 with a random one; docs/anomaly.md.
# Takes: 25 s of CPU time on one core.
# Command: python tools/train.py configs/padim_phantom.py --data-root data/phantom_anomaly
# --cfg-options pretrained=work_dirs/simsiam_phantom starts from a pre-trained backbone; without, it is random.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/padim.py', './_base_/runtime_anomaly.py']
data_root = 'data/phantom_anomaly/'
img_size = 64
standardize = True
batch_size = 16
num_workers = 0
mixed = False
flip_prob = 0.0
max_epochs = 1  # more only with random changes of the images
train_cfg = dict(
    _delete_=True,
    type='mmengine.EpochBasedTrainLoop',
    max_epochs='${max_epochs}',
    val_interval='${max_epochs}',  # there is nothing to score before the fit
)
train_dataloader = dict(sampler=dict(type='mmengine.DefaultSampler', shuffle=False))  # every healthy image once
checkpoint_interval = 10**9  # one at the end: features collected so far are not in a checkpoint
log_interval = 10
