"""Vectors of slides in a file: ``python tools/slide_embeddings.py`` writes it, ``tools/slide_probe.py`` reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.errors import ConfigError, DatasetError

__all__ = ["Embeddings", "read_embeddings", "write_embeddings"]


@dataclass(frozen=True)
class Embeddings:
    """Vectors (N, E) float32 of slides: ``ids`` and ``cases`` (N,), and ``how`` they were made."""

    ids: np.ndarray
    cases: np.ndarray
    vectors: np.ndarray
    how: str = ""


def write_embeddings(path: str | Path, embeddings: Embeddings) -> None:
    """Write .npz (``ids``, ``cases``, ``vectors``, ``how``) or .parquet (slide_id, case_id, e0, e1, ...), whole or not.

    Raises:
        ConfigError: another format, or pyarrow is missing.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".parquet"):
        raise ConfigError(f"{path}: embeddings are written as .npz or .parquet; name it so")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        if path.suffix == ".npz":
            np.savez(draft, **vars(embeddings))
        else:
            _write_parquet(draft, embeddings)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write_parquet(path: Path, embeddings: Embeddings) -> None:
    try:
        from pyarrow import parquet, table
    except ImportError as error:
        raise ConfigError("writing .parquet needs pyarrow; run `pip install medkit[tabular]`, or write .npz") from error
    columns = {f"e{i}": column for i, column in enumerate(embeddings.vectors.T)}
    made = table({"slide_id": embeddings.ids.tolist(), "case_id": embeddings.cases.tolist(), **columns})
    parquet.write_table(made.replace_schema_metadata({"how": embeddings.how}), path)


def read_embeddings(path: str | Path) -> Embeddings:
    """Read what `write_embeddings` wrote as .npz.

    Raises:
        DatasetError: missing, or not such a file.
    """
    try:
        with np.load(path) as content:
            found = Embeddings(content["ids"], content["cases"], content["vectors"], str(content["how"]))
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path} holds no embeddings ({error}); make it with tools/slide_embeddings.py") from error
    if found.vectors.shape[:1] != found.ids.shape or not np.isfinite(found.vectors).all():
        shape = found.vectors.shape
        raise DatasetError(f"{path}: {len(found.ids)} slides, vectors {shape}, perhaps not finite; make it again")
    return found
