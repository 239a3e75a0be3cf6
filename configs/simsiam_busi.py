# Reaches: see docs/simsiam.md.
# Takes: see docs/simsiam.md; meant for two CPU cores. SimSiam, ResNet-18, breast ultrasound (BUSI) at 128 px.
# Command: python tools/train.py configs/simsiam_busi.py --amp
_base_ = ['./_base_/datasets/unlabelled.py', './_base_/models/simsiam_r18.py', './_base_/runtime_ssl.py']
data_root = 'data/busi/'
img_size = 128
blur_sigma = 0.9
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 20
lr = 0.4  # per 256 images, so 0.05 here; 0.05 per 256 learns next to nothing in so few steps
channels_last = True
