# Reaches: AP50 .309 in report B ("fix", private images); docs/detection.md has what we measured on public ones.
# Takes: not measured on a GPU. ResNet-18 from SimSiam, frozen for the whole run, 512 px, 300 epochs.
# Command: python tools/train.py configs/centernet_simsiam_frozen_liver.py  (first: configs/simsiam_liver.py)
_base_ = ['./centernet_simsiam_liver.py']
unfreeze = 'fix'
