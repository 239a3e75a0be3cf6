# Giga-SSL (Lazard et al. 2023): aggregator, projector, NT-Xent on two views of each slide.
features = 256  # channels of a tile; 256 of a ResNet-18's third stage
embedding = 512
projection = 256
aggregator = 'sparse'  # or 'mlp', 'attention', which do not see positions
cell = 1.0  # side of a cell of the map, in sides of a tile
temperature = 0.05
pretrained = None  # checkpoint of a ResNet-18, whose layer4 starts the sparse aggregator

aggregators = dict(
    sparse=dict(
        type='medkit.SparseStageAggregator',
        in_channels='${features}',
        out_channels='${embedding}',
        cell='${cell}',
        init_cfg='${start if pretrained else None}',
    ),
    mlp=dict(type='medkit.MLPMeanAggregator', in_channels='${features}', out_channels='${embedding}'),
    attention=dict(type='medkit.AttentionAggregator', in_channels='${features}', out_channels='${embedding}'),
)
start = dict(type='medkit.PretrainedBackbone', checkpoint='${pretrained}')
model = dict(
    type='medkit.GigaSSL',
    aggregator='${aggregators[aggregator]}',
    projector=dict(type='medkit.GigaSSLProjector', in_channels='${embedding}', out_channels='${projection}'),
    num_tiles='${num_tiles}',
    temperature='${temperature}',
    augmentation=dict(rotation=True, flip=True, zoom=(0.7, 1.3), shift=1.0),
)
