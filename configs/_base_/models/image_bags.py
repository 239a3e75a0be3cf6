# A backbone that all images of a study share, and a head for bags, trained together: docs/image_bags.md.
features = 512  # channels of the backbone's last maps
encoder = dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='BN'), zero_init_residual=False)
pretrained = None  # run folder or checkpoint of a backbone: medkit's own self-supervised ones, or any of mmpretrain
chunk_size = None  # images through the backbone at once; None: all of the batch
checkpointing = False  # activations are made again in the backward pass; set chunk_size too
frozen_bn = False  # batch norms keep the statistics that `pretrained` came with
frozen = False  # the backbone is not trained
loss_weights = dict()  # factors of the head's losses
model = dict(
    type='medkit.ImageBagClassifier',
    backbone='${encoder}',
    head='${head}',
    pretrained='${pretrained}',
    chunk_size='${chunk_size}',
    checkpointing='${checkpointing}',
    frozen_bn='${frozen_bn}',
    frozen='${frozen}',
    loss_weights='${loss_weights}',
)
