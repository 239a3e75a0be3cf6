# Reaches: AUC .50 [.43, .57] on phantom squares, which is chance; docs/anomaly.md.
# Takes: 160 s of CPU time on one core with --amp.
# Command: python tools/train.py configs/alad_phantom.py --data-root data/phantom_anomaly --amp
# Narrower than released (an eighth; the critic of image pairs a quarter). Few steps: averaged weights follow 10 times
# faster.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/alad.py', './_base_/runtime_anomaly.py']
data_root = 'data/phantom_anomaly/'
mixed = False
img_size = 64
standardize = True
batch_size = 16
num_workers = 0
width = 16
critic_width = 16
average = 1e-2
max_iters = 1000
checkpoint_interval = 500
log_interval = 50
channels_last = True
