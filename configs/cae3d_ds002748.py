# Reaches: sex of 72 adults, 5 folds: mAP .738 +- .029 (chance .636), k-means accuracy .711 +- .143. docs/volumes.md
# Takes: a quarter of a minute of CPU time on one core with --amp.
# Command: python tools/train.py configs/cae3d_ds002748.py --data-root data/brain_mri3d_ds002748/vol2mm --amp
# The plain autoencoder, for comparison.
_base_ = ['./cae3d_metric_ds002748.py']
alpha = 0.0
