# SimCLR (Chen et al. 2020): each output picks its other view among all outputs of the batch.
# The published batch of 4096 gives 8190 negatives; 32 give 62.
model = dict(
    type='medkit.SimCLR',
    temperature=0.1,
    loss_weight=0.1,  # plain SGD in place of LARS: gradients of the size of SimSiam's
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(
        type='medkit.ProjectionNeck', in_channels='${features}', hid_channels=512, out_channels=128, num_layers=2
    ),
)
