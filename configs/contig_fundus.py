# Reaches: not measured; the paper's fine-tuned kappa on APTOS is 85.93 (PGS, H1), pre-trained on UK Biobank.
# Takes: not measured; ResNet-50 at 448 px, batch 64, 101 epochs on one GPU, Adam with a constant learning rate.
# Command: python tools/train.py configs/contig_fundus.py --data-root data/fundus
# As published: polygenic scores of each person (pgs.parquet: patient_id, 481 columns), one view without colour change.
_base_ = [
    './_base_/datasets/image_vectors_fundus.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/contig.py',
    './_base_/runtime_contig.py',
]
vectors = dict(clinical=dict(_delete_=True, file='pgs.parquet'))
num_features = 481
features = 2048
encoder = dict(depth=50, zero_init_residual=False)  # torchvision's initialisation
img_size = 448
batch_size = 64
max_epochs = 101
# The release asks for a cosine but steps it once per epoch with a period in batches: the lr stays within 1 % of 1e-3.
param_scheduler = None
view = [
    dict(type='mmpretrain.Resize', scale=('${img_size}', '${img_size}')),
    dict(
        type='mmpretrain.Rotate',
        magnitude_range=(0, 20),
        magnitude_std='inf',
        random_negative_prob=0.5,
        pad_val=0,
        prob=1.0,
    ),
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
]
