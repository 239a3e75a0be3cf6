# Reaches: not measured.
# Takes: not measured; about half of simsiam_fundus_dr10.py, one view instead of two. ResNet-18, fundus at 112 px.
# Command: python tools/train.py configs/contig_fundus_dr10.py --data-root data/dr10 --amp
# The vector is the grade in labels.csv, all that such a folder says of an image: not label-free, and a comparison by
# grade must say so. Name other tables in `vectors` (age, blood pressure, HbA1c, genetic scores) where there are any.
_base_ = [
    './_base_/datasets/image_vectors_fundus.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/contig.py',
    './_base_/runtime_contig.py',
]
data_root = 'data/dr10/'
num_features = 5
img_size = 112
blur_sigma = 0.8
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 40
channels_last = True
