# Reaches: AUC .42 [.37, .48] on phantom squares, worse than chance; docs/anomaly.md.
# Takes: 100 s of CPU time on one core with --amp.
# Command: python tools/train.py configs/alocc_phantom.py --data-root data/phantom_anomaly --amp
# Half the width of the release's refiner, a quarter of the paper's detector.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/alocc.py', './_base_/runtime_anomaly.py']
data_root = 'data/phantom_anomaly/'
mixed = False
img_size = 64
standardize = True
batch_size = 16
num_workers = 0
refiner_width = 16
detector_width = 16
max_iters = 1200
checkpoint_interval = 400
log_interval = 50
channels_last = True
