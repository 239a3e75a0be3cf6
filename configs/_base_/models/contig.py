# ContIG (Taleb et al. 2022): images against one vector per subject. The vectors' length must be said here, since the
# network is built before the tables are read; the data set's log line tells it.
num_features = 3  # numeric columns, and one for each value of a categorical column
vector_encoder = 'H1'  # 'none', 'H1' or 'H12'

model = dict(
    type='medkit.ContIG',
    data_preprocessor='${data_preprocessor}',
    backbone='${encoder}',
    modalities=dict(clinical=dict(in_features='${num_features}', encoder='${vector_encoder}')),
    feat_channels='${features}',
    hid_channels='${features}',
    out_channels=128,
    temperature=0.1,
    alpha=0.75,  # of image -> vector
    gather=False,  # True: negatives from all GPUs; the paper has one
)
