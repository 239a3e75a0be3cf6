# Reaches: not measured.
# Takes: not measured; meant for one CPU core.
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
