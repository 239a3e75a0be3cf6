# A small vision transformer as the encoder that is pre-trained: 192 wide, 6 layers, 3 heads, 2.8 M parameters; that of
# the small SSiT config, so that the two can be compared. It gives all tokens, class token first.
features = 192
patch_size = 16
encoder = dict(
    type='medkit.SaliencyViT',
    arch=dict(embed_dims=192, num_layers=6, num_heads=3, feedforward_channels=768),
    img_size='${img_size}',
    patch_size='${patch_size}',
)
data_preprocessor = dict(
    type='mmpretrain.SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
