# Reaches: not measured yet.
# Takes: not measured yet; meant for one CPU core.
# Command: python tools/train.py configs/cae3d_ds002748.py --data-root data/brain_mri3d_ds002748/vol2mm --amp
# The plain autoencoder, for comparison.
_base_ = ['./cae3d_metric_ds002748.py']
alpha = 0.0
