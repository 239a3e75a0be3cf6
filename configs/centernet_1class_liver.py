# Reaches: not reported (report B gives one class for YOLOX only: AP50 .839); not measured here.
# Takes: not measured on a GPU. As centernet_liver.py with the four categories merged into "lesion".
# Command: python tools/train.py configs/centernet_1class_liver.py --data-root data/liver
_base_ = ['./centernet_liver.py']
classes = ('lesion',)
class_map = 'lesion'
