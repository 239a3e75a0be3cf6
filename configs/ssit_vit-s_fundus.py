# Reaches: not measured. Published, on EyePACS: kappa .819 fine-tuned and .713 linear on DDR; see docs/ssit.md.
# Takes: not measured. ViT-S/16, 224 px, 300 epochs, 4 GPUs of 128 images each (published: 4 x RTX 3090).
# Command: bash tools/dist_train.sh configs/ssit_vit-s_fundus.py 4 --data-root data/fundus --amp
_base_ = ['./_base_/datasets/fundus_saliency.py', './_base_/models/ssit_vit_s.py', './_base_/runtime_ssit.py']
batch_size = 128  # per GPU
