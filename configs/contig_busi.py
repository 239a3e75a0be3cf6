# Reaches: AP50 .445 +- .044 as a detector (docs/selfsup.md). Not label-free: it uses the diagnosis of training images.
# Takes: 20 epochs of 14 steps, 9 s each (--amp, one core). ResNet-18, breast ultrasound at 128 px, as simsiam_busi.py.
# Command: python tools/train.py configs/contig_busi.py --data-root data/busi --amp
# The vector is the diagnosis (benign, malignant, normal), all that this set says beside the image. An image-level
# diagnosis is a cheap label: it is in the pathology report, no box is drawn. A comparison must say that it was used.
_base_ = [
    './_base_/datasets/image_vectors.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/contig.py',
    './_base_/runtime_contig.py',
]
data_root = 'data/busi/'
vectors = dict(clinical=dict(_delete_=True, categorical=dict(diagnosis=('benign', 'malignant', 'normal'))))
num_features = 3
img_size = 128
blur_sigma = 0.9
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 20
channels_last = True
