# Reaches: test AP50 .435, macro F1 .547 (docs/detection.md, 59 test images, mean of 3 seeds).
# Takes: 14 min of CPU time with bfloat16. ResNet-18 at stride 16, 128 px, no pre-training, all weights train.
# Command: python tools/train.py configs/centernet_busi.py --data-root data/busi
_base_ = [
    './_base_/datasets/lesions.py',
    './_base_/models/centernet_r18.py',
    './_base_/schedules/adamw_cosine.py',
    './_base_/runtime.py',
]
data_root = 'data/busi/'
classes = ('benign', 'malignant')
img_size = 128
output_stride = 16
batch_size = 8
cache_dir = '${data_root}/cache'
num_workers = 1
max_epochs = 30
lr = 1e-3
warmup_iters = 100
ema_momentum = 0.005
channels_last = True
