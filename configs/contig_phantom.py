# Reaches: not measured.
# Takes: not measured; meant for two CPU cores. ResNet-18, phantom images at 96 px.
# Command: python tools/train.py configs/contig_phantom.py --data-root data/phantom --amp
# The vector is age, sex and diagnosis of the patient, columns of annotations/train.json: it uses the diagnoses.
_base_ = [
    './_base_/datasets/image_vectors.py',
    './_base_/models/encoder_r18.py',
    './_base_/models/contig.py',
    './_base_/runtime_contig.py',
]
data_root = 'data/phantom/'
vectors = dict(
    clinical=dict(
        categorical=dict(sex=('F', 'M'), diagnosis=('cyst', 'HCC', 'hemangioma', 'metastasis', 'normal')),
    )
)
num_features = 8  # age, two for the sex, five for the diagnosis
img_size = 96
blur_sigma = 0.7
batch_size = 32  # few images: many small steps
num_workers = 1
max_epochs = 5
channels_last = True
