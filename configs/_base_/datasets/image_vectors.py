# One view of each training image, as in unlabelled.py, with the vectors of its subject; a batch has no subject twice.
_base_ = ['./unlabelled.py']
# Modality -> table (file, key, columns, ...); without a file: columns of the annotation file. See docs/contig.md.
vectors = dict(clinical=dict(columns=('age', 'sex', 'diagnosis')))
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
