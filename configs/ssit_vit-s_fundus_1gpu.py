# Reaches: not measured.
# Takes: not measured. The published network and epochs on one GPU: batch 128, lr scaled to it (2.5e-4).
# Command: python tools/train.py configs/ssit_vit-s_fundus_1gpu.py --data-root data/fundus --amp
_base_ = ['./_base_/datasets/fundus_saliency.py', './_base_/models/ssit_vit_s.py', './_base_/runtime_ssit.py']
batch_size = 128  # all of it: InfoNCE has 127 negatives here, 511 as published
