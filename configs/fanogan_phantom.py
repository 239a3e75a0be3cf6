# Reaches: AUC .72 [.66, .77] on phantom squares; docs/anomaly.md.
# Takes: 190 s of CPU time on one core with --amp.
# Command: python tools/train.py configs/fanogan_phantom.py --data-root data/phantom_anomaly --amp
# An eighth of the published width: the gradient penalty in float32 takes most of the time. The encoder learns four
# times faster in the few steps it has.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/fanogan.py', './_base_/runtime_anomaly.py']
data_root = 'data/phantom_anomaly/'
mixed = False
img_size = 64
standardize = True
batch_size = 16
num_workers = 0
width = 8
encoder_lr = 2e-4
max_iters = 900
checkpoint_interval = 450
log_interval = 50
channels_last = True
