# Reaches: AUC .66 +- .10, .73 +- .06, .79 +- .05 on phantom squares, 10, 30, 50 % of the mix ill; docs/anomaly.md.
# Takes: 190 s of CPU time on one core with --amp.
# Command: python tools/train.py configs/healthygan_phantom.py --data-root data/phantom_anomaly --amp
# Small networks and few steps: lr 5 times the published one, falling to 0 over the last quarter.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/healthygan.py', './_base_/runtime_anomaly.py']
data_root = 'data/phantom_anomaly/'
img_size = 64
standardize = True
batch_size = 8
num_workers = 0
width = 16
num_blocks = 2
num_layers = 4
lr = 5e-4
# With the published mask weights (size 1, binary 1) the mask is one everywhere after 100 iterations here.
weights = dict(size=20.0, binary=0.1)
linear_decay = True
max_iters = 2000
checkpoint_interval = 500
log_interval = 50
picture_interval = 250
channels_last = True
