# Reaches: AUROC .75 to .82 with 10 labelled slides, .94 to .97 with 50 (averages: .47 to .53); docs/gigassl.md.
# Takes: 3 minutes of CPU time on one core of a shared machine.
# Command: python tools/train.py configs/gigassl_phantom.py --data-root data/tissue
_base_ = ['./gigassl_slides.py']
# Made-up tissue (python -m data_prep.tissue_bags): 32 channels, 240 tiles a slide. The label is how tiles lie, which
# 5 tiles of 240 hardly ever show: they have 0.1 occupied neighbours, 64 have 1.6.
features = 32
embedding = 64
projection = 32
num_tiles = 64
batch_size = 64
num_workers = 0  # a batch is made faster than a worker starts
max_epochs = 200
