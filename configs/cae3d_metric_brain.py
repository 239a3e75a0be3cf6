# Reaches: not measured here; the paper gives a k-means accuracy of .786 +- .087 (plain autoencoder .547) on ADNI2.
# Takes: not measured; meant for one GPU.
# Command: python tools/train.py configs/cae3d_metric_brain.py --data-root data/adni --amp
# --cfg-options checkpointing=True takes 0.36 of the memory at 128^3 and 1.1 of the time; with --amp too 0.29 and 0.65
# (`python tools/benchmark.py volumes`, one CPU core). alpha=0 trains the plain autoencoder.
# As published: 80 x 96 x 80 voxels, 150 numbers, alpha 1. Rate, epochs and batch are not published.
_base_ = ['./_base_/datasets/volumes.py', './_base_/models/cae3d.py', './_base_/runtime_volumes.py']
data_root = 'data/adni/'
classes = ('CN', 'AD')
others = 'unlabelled'  # MCI and others are reconstructed alone; entropy_weight makes more of them
batch_size = 8
num_workers = 4
max_epochs = 100
lr = 1e-4
