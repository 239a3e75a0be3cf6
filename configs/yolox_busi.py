# Reaches: not measured yet.
# Takes: not measured yet. YOLOX-s at 128 px, random start, all weights train.
# Command: python tools/train.py configs/yolox_busi.py --data-root data/busi
_base_ = ['./yolox_liver.py']
data_root = 'data/busi/'
classes = ('benign', 'malignant')
img_size = 128
cache_dir = '${data_root}/cache'
num_workers = 1
max_epochs = 30
val_interval = 1
