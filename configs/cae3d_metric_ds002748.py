# Reaches: not measured yet.
# Takes: not measured yet.
# Command: python tools/train.py configs/cae3d_metric_ds002748.py --data-root data/brain_mri3d_ds002748/vol2mm --amp
# 72 healthy and depressed adults, sex as the class: depression hardly shows in T1.
_base_ = ['./cae3d_metric_brain.py']
data_root = 'data/brain_mri3d_ds002748/vol2mm/'
table = '../labels.csv'
columns = dict(image='file', subject='participant_id', label='gender')
classes = ('f', 'm')
recipe = dict(crop='none')  # already 80 x 96 x 80 about the brain, at 2 mm: its size stays
