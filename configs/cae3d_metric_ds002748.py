# Reaches: sex of 72 adults, 5 folds: mAP .780 +- .037 (plain .738 +- .029, chance .636), k-means accuracy .777 +- .160.
# Takes: a quarter of a minute of CPU time on one core with --amp.
# Command: python tools/train.py configs/cae3d_metric_ds002748.py --data-root data/brain_mri3d_ds002748/vol2mm --amp
# 72 healthy and depressed adults, sex as the class: depression hardly shows in T1. Seen at 24 x 32 x 24 voxels;
# --cfg-options target_size=80,96,80 channels=16,32,64,128 takes them whole.
_base_ = ['./_base_/datasets/volumes.py', './_base_/models/cae3d.py', './_base_/runtime_volumes.py']
data_root = 'data/brain_mri3d_ds002748/vol2mm/'
table = '../labels.csv'
columns = dict(image='file', subject='participant_id', label='gender')
classes = ('f', 'm')
others = 'unlabelled'  # as it matters for other columns, such as age bands
recipe = dict(crop='none')  # already 80 x 96 x 80 about the brain, at 2 mm: its size stays
target_size = (24, 32, 24)
channels = (8, 16, 32)
alpha = 0.02
temperature = 0.05
ramp = (0.1, 0.4)
num_workers = 0
max_epochs = 20
val_interval = 20
lr = 2e-3
