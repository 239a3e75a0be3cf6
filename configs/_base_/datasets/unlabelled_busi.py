# Breast ultrasound (BUSI as `python -m data_prep` writes it) at 128 px for two CPU cores; equal for all methods.
_base_ = ['./unlabelled.py']
data_root = 'data/busi/'
img_size = 128
blur_sigma = 0.9
batch_size = 32  # few images: many small steps
num_workers = 1
