# A small graded set of fundus photographs (`python -m data_prep fundus`) at 112 px for one CPU core; equal for all
# methods.
_base_ = ['./unlabelled_fundus.py']
data_root = 'data/dr10/'
img_size = 112
blur_sigma = 0.8
batch_size = 32  # few images: many small steps
num_workers = 1
