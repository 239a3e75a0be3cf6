# PatchCore on layers 2 and 3 of a ResNet-18. pretrained: a local checkpoint or run folder, such as that of a SimSiam
# run; None leaves the backbone untrained. Fitted in one pass: set `mixed = False` and `flip_prob = 0`, and train_cfg as
# in patchcore_phantom.py.
pretrained = None
coreset = 0.1  # share of the patches that the bank keeps
num_neighbors = 9  # for the weight of an image's score; 1: not weighted
max_memory_gb = 8.0

model = dict(
    type='medkit.PatchCore',
    backbone=dict(
        type='mmpretrain.ResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(1, 2)
    ),
    pretrained='${pretrained}',
    coreset='${coreset}',
    num_neighbors='${num_neighbors}',
    max_memory_gb='${max_memory_gb}',
)
optim_wrapper = dict(type='mmengine.OptimWrapper', optimizer=dict(type='mmengine.SGD', lr=0.0))  # nothing is trained
param_scheduler = None
method_hooks = [dict(type='medkit.FitHook')]
