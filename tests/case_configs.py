"""Texts of two small configs whose networks make codes for an index of cases."""

IMAGES = """
default_scope = 'mmpretrain'
img_size = 32
model = dict(type='mmpretrain.SimSiam', backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=4,
    stem_channels=4), data_preprocessor=dict(mean=[120.0, 110, 100], std=[60.0, 50, 40], to_rgb=True))
"""
VOLUMES = """
target_size = (16, 32, 16)
model = dict(type='medkit.ConvAutoencoder3D', channels=(2, 4))
train_dataloader = dict(batch_size=2, dataset=dict(type='medkit.VolumeDataset', data_root='none/', split='train',
    target_size='${target_size}', divisor=4, num_classes=2, classes=('control', 'patient'),
    table='other.csv', columns=dict(label='gender'), recipe=dict(percentiles=[1, 99])))
"""
