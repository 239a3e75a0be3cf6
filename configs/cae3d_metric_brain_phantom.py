# Reaches: not measured yet.
# Takes: not measured yet; meant for one CPU core.
# Command: python tools/train.py configs/cae3d_metric_brain_phantom.py --data-root data/brain_phantom --amp
_base_ = ['./_base_/datasets/volumes.py', './_base_/models/cae3d.py', './_base_/runtime_volumes.py']
data_root = 'data/brain_phantom/'
target_size = (40, 48, 40)
channels = (8, 16, 32)  # three stages: 5 x 6 x 5 = 150 numbers, as published
batch_size = 8
num_workers = 0
max_epochs = 30
val_interval = 30
lr = 1e-3
