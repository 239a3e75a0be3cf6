# Gildenblat and Klaiman 2019: average pooling and one linear layer to 128 numbers, no activation, no norm.
model = dict(
    type='medkit.SpatialSiamese',
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    neck=dict(type='mmpretrain.LinearNeck', in_channels='${features}', out_channels=128, gap_dim=2, norm_cfg=None),
    head=dict(type='medkit.PairDistanceLoss', margin='${margin}', power='${power}'),
    l2norm=False,
)
margin = 1.0  # the sources of the paper do not state it
power = 1  # 1: distance as in the paper; 2: its square, as Hadsell et al. 2006
