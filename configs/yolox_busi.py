# Reaches: AP50 .313, macro F1 .287 (one seed, 59 test images; docs/report.md): 1 740 steps are few for YOLOX.
# Takes: 17 minutes of CPU time (--amp) on a Xeon with AMX. YOLOX-s at 128 px, random start, all weights train.
# Command: python tools/train.py configs/yolox_busi.py --data-root data/busi
_base_ = ['./yolox_liver.py']
data_root = 'data/busi/'
classes = ('benign', 'malignant')
img_size = 128
cache_dir = '${data_root}/cache'
num_workers = 1
max_epochs = 30
val_interval = 1
