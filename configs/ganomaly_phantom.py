# Reaches: AUC .79 [.74, .83] on phantom squares; docs/anomaly.md.
# Takes: 120 s of CPU time on one core with --amp.
# Command: python tools/train.py configs/ganomaly_phantom.py --data-root data/phantom_anomaly --amp
# Three eighths of the published width.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/ganomaly.py', './_base_/runtime_anomaly.py']
data_root = 'data/phantom_anomaly/'
mixed = False
img_size = 64
standardize = True
batch_size = 16
num_workers = 0
width = 24
max_iters = 1000
checkpoint_interval = 500
log_interval = 50
channels_last = True
