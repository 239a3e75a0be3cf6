# Reaches: not measured here; the paper gives an AUC of 0.84 on COVID-19 radiographs.
# Takes: not measured; 400 000 iterations at 256 px, meant for one GPU.
# Command: python tools/train.py configs/healthygan_covid.py --data-root data/covid --amp
# As published: 16 mixed and 16 healthy images per iteration, every second one also updates the generator.
_base_ = ['./_base_/datasets/anomaly.py', './_base_/models/healthygan.py', './_base_/runtime_anomaly.py']
data_root = 'data/covid/'
img_size = 256
drop_top = 0.08  # burned-in text
crop = True
batch_size = 16
num_workers = 4
max_iters = 400_000
checkpoint_interval = 10_000
log_interval = 1000
picture_interval = 10_000
