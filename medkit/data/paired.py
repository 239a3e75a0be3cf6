"""Images together with what a table says of their subjects, for ContIG (CVPR 2022, arXiv 2111.13424).

Command: ``python tools/train.py configs/contig_busi.py --amp``; docs/contig.md describes the tables.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from medkit.data.encoding import VectorEncoding, fit_encoding
from medkit.data.lesion_dataset import read_coco
from medkit.data.tabular import Table, make_table, read_table
from medkit.data.unlabelled import UnlabelledImages
from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATASETS

_SUBJECT_COLUMNS = ("patient_id", "patient")
_MODALITY_KEYS = frozenset(("file", "key", "columns", "categorical", "missing", "standardise", "step"))


@DATASETS.register_module()
class ImageVectors(UnlabelledImages):
    """The images of a set with the vectors of their subjects.

    Samples are ``dict(img_path, img_id, subject, vectors)``; ``vectors`` maps a modality's name to (D,)
    float32, all NaN where nothing is known of the subject. ``subjects`` lists the subject of each image for
    `medkit.SubjectSampler`. The first images of all subjects come first, then the second ones, and so on, so
    that the first B images are of B subjects (``indices=B``). How columns become numbers is fitted on the
    subjects of this data set's images and stands in ``metainfo['vectors']``, which checkpoints carry.

    Args:
        ann_file, data_root, data_prefix, held_out: as for `UnlabelledImages`.
        vectors: modality's name -> ``dict(file, key, columns, categorical, missing, standardise, step)``, all
            optional. ``file`` under ``data_root`` is a table with one row per subject, see `read_table`; without it
            the columns are those of the annotation file (``columns`` is then needed), one row per image.
            ``categorical`` maps a column to its values in order (or lists columns, whose values are then those
            found); ``missing`` is ``mean`` or ``mode``. A modality's length is the number of its features.
        join: ``inner`` keeps images whose subject has every modality, ``outer`` those that have any.
        subject: column of the annotation file that names the subject; default ``patient_id`` or ``patient``. Without
            such a column each image is its own subject, named by its file without the suffix.
        encoding: modality's name -> what another data set has in ``metainfo['vectors']``; used in place of fitting.
        kwargs: as for `mmengine.dataset.BaseDataset`.

    Raises:
        DatasetError: see `UnlabelledImages`, `read_table` and `fit_encoding`; or no image has vectors.
        ConfigError: an unknown join or key.
    """

    def __init__(
        self,
        ann_file: str = "",
        *,
        vectors: Mapping[str, Mapping[str, Any]],
        join: str = "outer",
        subject: str | None = None,
        encoding: Mapping[str, Mapping] | None = None,
        **kwargs,
    ) -> None:
        if join not in ("inner", "outer"):
            raise ConfigError(f"ImageVectors: join={join!r}; give 'inner' (all modalities) or 'outer' (any)")
        if not vectors:
            raise ConfigError("ImageVectors: vectors is empty; give name=dict(columns=...) or dict(file=...)")
        for name, settings in vectors.items():
            if unknown := set(settings) - _MODALITY_KEYS:
                raise ConfigError(
                    f"ImageVectors: modality {name!r} has {sorted(unknown)}; known are {sorted(_MODALITY_KEYS)}"
                )
        self.vectors, self.join, self.subject, self.given = dict(vectors), join, subject, encoding or {}
        self._values: dict[str, np.ndarray] = {}  # name -> (N, D), beside the list, which is pickled image by image
        super().__init__(ann_file=ann_file, **kwargs)

    @property
    def subjects(self) -> list[str]:
        """Subject of each image, in the order of the samples."""
        return [self.get_data_info(index)["subject"] for index in range(len(self))]

    def load_data_list(self) -> list[dict]:
        """Images with a row number into each modality's values; those without vectors are left out."""
        records = self._records()
        images = super().load_data_list()
        folder = Path(self.data_prefix["img"])
        names = [Path(image["img_path"]).relative_to(folder).as_posix() for image in images]
        subjects = [self._subject_of(name, records) for name in names]
        values = {name: self._vectors_of(name, names, subjects, records) for name in self.vectors}
        has = np.stack([~np.isnan(array).any(axis=1) for array in values.values()], axis=1)  # (N, modalities)
        keep = np.flatnonzero(has.all(axis=1) if self.join == "inner" else has.any(axis=1))
        self._report(has, keep)
        self._values = {name: array[keep] for name, array in values.items()}
        listed = [
            {**images[index], "subject": subjects[index], "row": row} for row, index in enumerate(keep.tolist())
        ]
        return _round_robin(listed)

    def get_data_info(self, idx: int) -> dict:
        """One sample, with its ``vectors``."""
        info = super().get_data_info(idx)
        info["vectors"] = {name: array[info["row"]] for name, array in self._values.items()}
        return info

    def _records(self) -> dict[str, dict[str, Any]]:
        """Image's name -> its columns in the annotation file; empty for a plain folder."""
        if not self.ann_file:
            return {}
        if self.ann_file.endswith(".csv"):
            with Path(self.ann_file).open(newline="", encoding="utf-8-sig") as stream:
                return {row["image"]: row for row in csv.DictReader(stream)}
        return {image["file_name"]: image for image in read_coco(self.ann_file)["images"]}

    def _subject_of(self, name: str, records: Mapping[str, Mapping]) -> str:
        record = records.get(name, {})
        for column in (self.subject,) if self.subject else _SUBJECT_COLUMNS:
            if record.get(column) not in (None, ""):
                return str(record[column])
        if self.subject and not any(self.subject in other for other in records.values()):
            raise DatasetError(f"{self.ann_file} has no column {self.subject!r}; correct `subject`")
        return Path(name).stem if not records else name

    def _vectors_of(
        self, modality: str, names: Sequence[str], subjects: Sequence[str], records: Mapping[str, Mapping]
    ) -> np.ndarray:
        """(N, D) of a modality for all images, NaN where it has nothing on one."""
        settings = self.vectors[modality]
        categorical = settings.get("categorical", {})
        table = self._table(modality, names, records)
        row_of = table.row_of()
        found = [row_of.get(key, -1) for key in (subjects if "file" in settings else names)]
        used = sorted(set(found) - {-1})
        if not used:
            raise DatasetError(
                f"no subject of {self.ann_file or self.data_prefix['img']} is in {table.source}: images have subjects "
                f"such as {subjects[0]!r}, the table {table.keys[0]!r}; set the modality's key to the same ids"
            )
        known = table.rows_with_values()
        training = [row for row in used if known[row]]
        if modality in self.given:
            encoding = VectorEncoding.from_dict(self.given[modality])
        else:
            values = categorical if isinstance(categorical, Mapping) else None
            fill, scale = settings.get("missing", "mean"), settings.get("standardise", True)
            encoding = fit_encoding(table, training, values, fill, scale)
        self._metainfo.setdefault("vectors", {})[modality] = encoding.to_dict()
        self._describe(modality, table, encoding, len(training))
        vectors = np.full((len(names), len(encoding.features)), np.nan, np.float32)
        there = np.array(found) >= 0
        vectors[there] = encoding(table)[np.array(found)[there]]
        return vectors

    def _table(self, modality: str, names: Sequence[str], records: Mapping[str, Mapping]) -> Table:
        settings = self.vectors[modality]
        categorical = list(settings.get("categorical", ()))
        if "file" in settings:
            return read_table(
                Path(self.data_root or "", settings["file"]),
                settings.get("key", "patient_id"),
                settings.get("columns"),
                categorical,
                settings.get("step", 1),
            )
        columns = settings.get("columns") or categorical
        if not columns or not records:
            raise ConfigError(
                f"ImageVectors: modality {modality!r} has no file; give one, or columns of an annotation file"
            )
        there = {column for name in names for column in records[name]}
        content = {
            column: [records[name].get(column) for name in names] for column in columns if column in there
        }
        return make_table({"": list(names), **content}, self.ann_file, "", columns, categorical)

    def _describe(self, modality: str, table: Table, encoding: VectorEncoding, count: int) -> None:
        text = f"vectors {modality!r}: {len(encoding.features)} features, fitted on {count} rows of {table.source}"
        if unused := int(table.rows_with_values().sum()) - count:
            text += f"; {unused} rows belong to no image"
        if encoding.constant:
            text += f"; {len(encoding.constant)} features never vary (first: {encoding.constant[0]})"
        print_log(text, logger="current")

    def _report(self, has: np.ndarray, keep: np.ndarray) -> None:
        if not len(keep):
            raise DatasetError(
                f"none of {len(has)} images has {'all' if self.join == 'inner' else 'any'} of the vectors "
                f"{', '.join(self.vectors)}; check the tables' subjects, or use join='outer'"
            )
        lacking = ", ".join(f"{count} lack {name!r}" for name, count in zip(self.vectors, (~has).sum(0), strict=True))
        print_log(f"images with vectors ({self.join} join): {len(keep)} of {len(has)}; {lacking}", logger="current")


def _round_robin(images: list[dict]) -> list[dict]:
    """First the first image of every subject, then the second ones, ...; within a round the order is kept."""
    seen: Counter[str] = Counter()
    rounds = []
    for position, image in enumerate(images):
        rounds.append((seen[image["subject"]], position))
        seen[image["subject"]] += 1
    return [images[position] for _, position in sorted(rounds)]
