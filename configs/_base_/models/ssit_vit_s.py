# SSiT's published network: ViT-S/16, and the colours of EyePACS, on which it was trained.
_base_ = ['./ssit.py']
features = 384
patch_size = 16
encoder = dict(type='medkit.SaliencyViT', arch='deit-small', img_size='${img_size}', patch_size='${patch_size}')
data_preprocessor = dict(
    type='medkit.SaliencyDataPreprocessor',
    mean=[108.566, 75.829, 54.300],
    std=[70.559, 51.615, 42.998],
    to_rgb=True,
)
