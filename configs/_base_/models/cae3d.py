# 3-D autoencoder (arXiv 1912.01824) of the derived layer plan, with metric learning on its codes where alpha > 0.
channels = (16, 32, 64, 128)  # of the stages; every side of a volume is divided by 2 to their number
temperature = 1.0  # divides squared distances; 1 as published
entropy_weight = 0.0  # of unlabelled scans
checkpointing = False  # computes activations again: less memory, more time
reconstruction = dict(type='plain')  # or 'masked', 'weighted'
ramp = (0.0, 0.1)  # shares of the training between which alpha rises from 0

model = dict(
    type='medkit.ConvAutoencoder3D',
    channels='${channels}',
    input_size='${target_size}',
    num_classes='${num_classes}',
    anchors_per_class='${anchors_per_class}',
    alpha='${alpha}',
    temperature='${temperature}',
    entropy_weight='${entropy_weight}',
    checkpointing='${checkpointing}',
    reconstruction='${reconstruction}',
)
rise = dict(type='medkit.RampValueHook', attribute='alpha', begin='${ramp[0]}', full='${ramp[1]}')
method_hooks = '${[rise] if alpha > 0 else []}'
