"""Tables of vectors for tests: what ContIG's configs read beside the images."""

from pathlib import Path

import numpy as np

from tests.graded import write_graded


def write_scored(root: Path, scores: int = 481, **graded) -> Path:
    """A graded set with ``pgs.parquet``: ``scores`` random numbers for each patient, two unknown to the images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_graded(root, saliency=False, **graded)
    lines = (root / "labels.csv").read_text().splitlines()[1:]
    patients = [*sorted({line.split(",")[1] for line in lines}), "stranger1", "stranger2"]
    values = np.random.default_rng(0).normal(size=(scores, len(patients)))
    columns = {f"PGS{number:06d}": row for number, row in enumerate(values, 1)}
    pq.write_table(pa.table({"patient_id": patients, **columns}), root / "pgs.parquet")
    return root


def write_plink(path: Path, calls: np.ndarray, chromosomes: list[str]) -> Path:
    """A .bed, .bim and .fam of (persons, variants) calls, NaN where not called; persons are p000, p001, ..."""
    from bed_reader import to_bed

    persons, variants = calls.shape
    properties = {
        "iid": [f"p{number:03d}" for number in range(persons)],
        "sid": [f"rs{number}" for number in range(variants)],
        "chromosome": chromosomes,
    }
    to_bed(path, calls.astype(np.float32), properties=properties, num_threads=1)
    return path
