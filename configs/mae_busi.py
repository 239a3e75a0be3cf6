# Reaches: see docs/selfsup.md, section "Results"; not measured where that table has no number.
# Takes: 20 epochs, as all methods on this set; about 6 minutes of CPU time. Small ViT, breast ultrasound at 128 px.
# Command: python tools/train.py configs/mae_busi.py --data-root data/busi --amp
_base_ = [
    './_base_/datasets/unlabelled_busi.py',
    './_base_/models/encoder_vit_t.py',
    './_base_/models/mae.py',
    './_base_/runtime_ssl_adamw.py',
]
max_epochs = 20
lr = 4e-3  # per 256 images, so 5e-4 here
monitored = dict(z='backbone')
train_dataloader = dict(dataset=dict(pipeline='${[load] + view + [pack]}'))
