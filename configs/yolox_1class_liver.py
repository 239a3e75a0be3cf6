# Reaches: AP50 .839 in report B (YOLOX with one class, private images); not measured here.
# Takes: not measured on a GPU. As yolox_liver.py with the four categories merged into "lesion".
# Command: python tools/train.py configs/yolox_1class_liver.py --data-root data/liver
_base_ = ['./yolox_liver.py']
classes = ('lesion',)
class_map = 'lesion'
