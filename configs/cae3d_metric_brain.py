# Reaches: not measured here; the paper gives a k-means accuracy of .786 +- .087 (plain autoencoder .547) on ADNI2.
# Takes: not measured; meant for one GPU. --cfg-options checkpointing=True saves memory, alpha=0 trains the plain one.
# Command: python tools/train.py configs/cae3d_metric_brain.py --data-root data/adni --amp
# As published: 80 x 96 x 80 voxels, 150 numbers, alpha 1. Rate, epochs and batch are not published.
_base_ = ['./_base_/datasets/volumes.py', './_base_/models/cae3d.py', './_base_/runtime_volumes.py']
data_root = 'data/adni/'
classes = ('CN', 'AD')
others = 'unlabelled'  # MCI and others are reconstructed alone; entropy_weight makes more of them
batch_size = 8
num_workers = 4
max_epochs = 100
lr = 1e-4
