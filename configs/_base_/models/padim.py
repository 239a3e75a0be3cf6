# PaDiM on layers 1 to 3 of a ResNet-18. pretrained: a local checkpoint or run folder, such as that of a SimSiam run;
# None leaves the backbone untrained. Fitted in one pass: set `mixed = False` and `flip_prob = 0`, and train_cfg as in
# padim_phantom.py.
pretrained = None
n_features = 100  # of 448 channels, drawn at random
max_memory_gb = 8.0

model = dict(
    type='medkit.PaDiM',
    backbone=dict(
        type='mmpretrain.ResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)
    ),
    pretrained='${pretrained}',
    n_features='${n_features}',
    max_memory_gb='${max_memory_gb}',
)
optim_wrapper = dict(type='mmengine.OptimWrapper', optimizer=dict(type='mmengine.SGD', lr=0.0))  # nothing is trained
param_scheduler = None
method_hooks = [dict(type='medkit.FitHook')]
