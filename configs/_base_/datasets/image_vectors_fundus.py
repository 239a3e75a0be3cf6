# A view of each training image, as unlabelled_fundus.py, with the vectors of its subject; no subject twice in a batch.
_base_ = ['./unlabelled_fundus.py']
# Modality -> table (file, key, columns, ...); without a file: columns of the annotation file. See docs/contig.md.
vectors = dict(clinical=dict(categorical=dict(label=('0', '1', '2', '3', '4'))))
join = 'outer'  # images that have any of the modalities; 'inner': all of them

load = dict(type='medkit.LoadMedicalImage')
pack = dict(type='mmpretrain.PackInputs', algorithm_keys=('vectors',))
train_dataloader = dict(
    sampler=dict(
        _delete_=True, type='medkit.SubjectSampler', batch_size='${batch_size}', round_up=False
    ),
    dataset=dict(
        type='medkit.ImageVectors',
        vectors='${vectors}',
        join='${join}',
        pipeline='${[load] + view + [pack]}',
    ),
)
