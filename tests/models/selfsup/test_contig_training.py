"""The example of docs/contig.md: clinical data and genotypes, some missing; what the checkpoint keeps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.data.encoding import VectorEncoding
from medkit.errors import ConfigError
from tests.graded import write_graded
from tests.vectors import write_plink

BASE = Path(__file__).resolve().parents[3] / "configs/_base_"
CONFIG = f"""
_base_ = [
    '{BASE}/datasets/image_vectors_fundus.py',
    '{BASE}/models/encoder_r18.py',
    '{BASE}/models/contig.py',
    '{BASE}/runtime_contig.py',
]
vectors = dict(
    _delete_=True,
    clinical=dict(file='labs.csv', categorical=dict(sex=('F', 'M'))),
    snp=dict(file='genotypes.bed', step=2, missing='mode'),
)
num_features = 4
model = dict(modalities=dict(snp=dict(in_features=3, encoder='H1')))
join = 'outer'
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_graded(tmp_path_factory.mktemp("set"), saliency=False)
    (root / "labs.csv").write_text("patient_id,age,sex,afp\np000,63,M,12.1\np001,58,F,\np002,,,\np005,40,F,3\n")
    calls = np.random.default_rng(0).integers(0, 3, (4, 6)).astype(np.float32)
    write_plink(root / "genotypes.bed", calls, ["1"] * 4 + ["2"] * 2)
    return root


def start(root: Path, work_dir: Path, **options):
    path = work_dir / "contig_example.py"
    path.write_text(CONFIG)
    return train(load_config(path, quick=True, work_dir=work_dir, data_root=root, cfg_options=options, amp=True))


def test_example_trains_and_its_checkpoint_carries_the_encoding(root: Path, tmp_path: Path) -> None:
    runner = start(root, tmp_path)
    assert runner.iter == 2 and all(torch.isfinite(p).all() for p in runner.model.parameters())
    file = (tmp_path / "last_checkpoint").read_text()
    stored = torch.load(file, weights_only=False)["meta"]["dataset_meta"]["vectors"]
    clinical = VectorEncoding.from_dict(stored["clinical"])
    assert clinical.features == ("age", "afp", "sex=F", "sex=M")
    assert clinical.mean[0] == pytest.approx(np.mean([63, 58, 40]))
    assert set(stored) == {"clinical", "snp"} and len(stored["snp"]["names"]) == 3


def test_wrong_length_is_named_with_the_right_one(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'clinical' have 4 features, the model expects 5; .*num_features=4"):
        start(root, tmp_path, num_features=5)
