# Reaches: k-means accuracy .570 +- .045 in 5 folds, which is chance; RMSE 10.0 %. docs/volumes.md
# Takes: half a minute of CPU time on one core with --amp.
# Command: python tools/train.py configs/cae3d_brain_phantom.py --data-root data/brain_phantom --amp
# The plain autoencoder, for comparison.
_base_ = ['./cae3d_metric_brain_phantom.py']
alpha = 0.0
