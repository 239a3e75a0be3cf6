# Reaches: not measured yet.
# Takes: not measured yet; meant for one CPU core.
# Command: python tools/train.py configs/cae3d_metric_brain_phantom.py --data-root data/brain_phantom --amp
_base_ = ['./_base_/datasets/volumes.py', './_base_/models/cae3d.py', './_base_/runtime_volumes.py']
data_root = 'data/brain_phantom/'
target_size = (24, 32, 24)
channels = (8, 16, 32)  # three stages: 3 x 4 x 3 = 36 numbers
alpha = 0.1  # at 1, as published, a training this short blurs: errors of intensities in [0, 1] are small beside it
ramp = (0.2, 0.4)  # reconstruction first
batch_size = 8
num_workers = 0
max_epochs = 16
val_interval = 16
lr = 2e-3
