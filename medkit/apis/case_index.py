"""Which earlier cases look like this one? An index of codes that finds the nearest cases of other subjects, exactly.

    index = CaseIndex.build(codes, cases, fingerprint)            # codes (N, D), one `Case` each
    found = index.query(code, k=5, fingerprint=fingerprint, subjects=['s012'])[0]      # list of FoundCase
    index.add(more_codes, more_cases, fingerprint)
    index.remove(['scan_17'])
    index.save('cases.npz')

It asks for codes and nothing else: those of a volume autoencoder (Onga et al., arXiv 1912.01824) serve as well as those
of a network for images. Search is that of `medkit.apis.neighbours` (faiss proposes, float64 decides), so the result
does not depend on how the index came to be. Needs the extra ``medkit[selfsup]``. Command: ``python tools/retrieve.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.case_index_file import read_index, write_index
from medkit.apis.cases import Case, FoundCase, ModelFingerprint
from medkit.apis.neighbours import Neighbours
from medkit.data.refusal import doubled, refuse
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.neighbours import METRICS

__all__ = ["CaseIndex"]

_NOBODY = -1  # subject of a query whose subject the index does not know


class CaseIndex:
    """Codes of cases, searched by comparing with all of them; made by `build` or `load`.

    Attributes:
        cases: in the order of the codes.
        fingerprint: of the model that made the codes.
        metric: ``'l2'`` or ``'cosine'``.
        about: whatever the maker wants to find again, plain values: config, checkpoint, ...
    """

    def __init__(
        self, codes: np.ndarray, cases: Sequence[Case], fingerprint: ModelFingerprint, metric: str, about: Mapping
    ) -> None:
        if metric not in METRICS:
            raise ConfigError(f"metric={metric!r}; expected one of {METRICS}")
        self.cases, self.fingerprint, self.metric, self.about = list(cases), fingerprint, metric, dict(about)
        codes = _checked(codes, self.cases, None)
        refuse(doubled(case.case_id for case in self.cases), "case", "it is given twice; case_id must be unique")
        self._subjects: dict[str, int] = {}
        self._neighbours = Neighbours(codes, metric, self._numbers(self.cases))
        self._rows = {case.case_id: row for row, case in enumerate(self.cases)}

    @classmethod
    def build(
        cls,
        codes: np.ndarray,
        cases: Sequence[Case],
        fingerprint: ModelFingerprint,
        metric: str = "l2",
        about: Mapping[str, Any] | None = None,
    ) -> "CaseIndex":
        """An index of codes (N, D), one case each.

        Raises:
            ConfigError: unknown metric, or faiss is not installed.
            DatasetError: no code, codes that are not finite or not as many as cases, a case_id that comes twice.
        """
        return cls(codes, cases, fingerprint, metric, about or {})

    @classmethod
    def load(cls, path: str | Path) -> "CaseIndex":
        """Read what `save` wrote.

        Raises:
            DatasetError: no such file, or it is damaged or no index; the message names it.
        """
        return cls(**read_index(Path(path)))

    def save(self, path: str | Path) -> Path:
        """Write one file; a kill in between leaves what was there before."""
        settings = {"metric": self.metric, "about": self.about}
        return write_index(Path(path), self.codes, self.cases, self.fingerprint, settings)

    def __len__(self) -> int:
        return len(self.cases)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self._rows

    @property
    def codes(self) -> np.ndarray:
        """(N, D) float32."""
        return self._neighbours.bank

    def code(self, case_id: str) -> np.ndarray:
        """Code (D,) of a case.

        Raises:
            DatasetError: the index does not hold it.
        """
        self._require([case_id])
        return self.codes[self._rows[case_id]]

    def query(
        self,
        codes: np.ndarray,
        k: int = 5,
        *,
        fingerprint: ModelFingerprint,
        subjects: Sequence[str | Case] | None = None,
    ) -> list[list[FoundCase]]:
        """The k nearest cases of other subjects for each code, the nearest first.

        Args:
            codes: (M, D) or (D,).
            k: cases; fewer where the index holds fewer of other subjects.
            fingerprint: of the model that made the codes.
            subjects: (M,) whom the codes are of, whose own cases are left out: names ('' leaves out nothing), or the
                cases that were encoded (one without a subject leaves out itself). None leaves out nothing.

        Raises:
            WeightsError: the codes are another model's.
            DatasetError: codes of another width, not finite, or not as many as subjects.
        """
        values, rows = self.search(codes, k, fingerprint=fingerprint, subjects=subjects)
        return [
            [FoundCase(self.cases[row], float(value)) for value, row in zip(*pair, strict=True) if row >= 0]
            for pair in zip(values, rows, strict=True)
        ]

    def search(
        self, codes: np.ndarray, k: int, *, fingerprint: ModelFingerprint, subjects: Sequence[str | Case] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `query`, in arrays: distances, rising, and indices of cases, (M, k); nan and -1 where none is left."""
        self.fingerprint.require(fingerprint, "the query")
        codes = np.atleast_2d(np.asarray(codes))
        subjects = [""] * len(codes) if subjects is None else list(subjects)
        if len(subjects) != len(codes):
            raise DatasetError(f"{len(subjects)} subjects for {len(codes)} queries; give one for each, '' if unknown")
        codes = _checked(codes, None, self.codes.shape[1])
        persons = [one.person if isinstance(one, Case) else f"subject {one}" for one in subjects]
        numbers = np.array([self._subjects.get(person, _NOBODY) for person in persons], np.int64)
        values, rows = self._neighbours.search(codes, k, numbers)
        return (values if self.metric == "l2" else 1 - values), rows

    def add(self, codes: np.ndarray, cases: Sequence[Case], fingerprint: ModelFingerprint) -> None:
        """Put cases behind those there are; of these nothing is computed again.

        Raises:
            WeightsError: the codes are another model's.
            DatasetError: codes of another width or not finite, or a case_id that is there already. Nothing is added.
        """
        self.fingerprint.require(fingerprint, "what is to be added")
        cases = list(cases)
        codes = _checked(codes, cases, self.codes.shape[1])
        names = [case.case_id for case in cases]
        refuse(doubled(names), "case", "it is given twice; case_id must be unique")
        refuse(self._rows.keys() & set(names), "case", "the index holds it already; remove it first to replace it")
        self._neighbours.extend(codes, self._numbers(cases))
        self._rows.update({name: row for row, name in enumerate(names, len(self.cases))})
        self.cases.extend(cases)

    def remove(self, case_ids: Iterable[str]) -> None:
        """Take cases out; the others keep their order.

        Raises:
            DatasetError: a case that the index does not hold, or nothing would be left. Nothing is removed.
        """
        names = set(case_ids)
        self._require(names)
        if len(names) == len(self.cases):
            raise DatasetError(f"removing {len(names)} cases would leave an empty index; delete its file instead")
        keep = np.ones(len(self.cases), bool)
        keep[[self._rows[name] for name in names]] = False
        self._neighbours.keep(keep)
        self.cases = [case for case, kept in zip(self.cases, keep, strict=True) if kept]
        self._rows = {case.case_id: row for row, case in enumerate(self.cases)}

    def of_subject(self, subject: str) -> list[str]:
        """Names of a subject's cases."""
        return [case.case_id for case in self.cases if subject and case.subject == subject]

    def _numbers(self, cases: Sequence[Case]) -> np.ndarray:
        """(n,) int64: subjects as numbers, which compare faster than names."""
        return np.array([self._subjects.setdefault(case.person, len(self._subjects)) for case in cases], np.int64)

    def _require(self, names: Iterable[str]) -> None:
        refuse((n for n in names if n not in self._rows), "case", f"not among the {len(self)} cases of the index")


def _checked(codes: np.ndarray, cases: Sequence[Case] | None, width: int | None) -> np.ndarray:
    """Codes (N, D) as float32, or an error that says which case's is wrong."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size or codes.dtype.kind not in "fiu":
        raise DatasetError(f"codes {codes.shape} of type {codes.dtype}; expected numbers (N, D), one row for each case")
    if width is not None and codes.shape[1] != width:
        raise DatasetError(
            f"codes of {codes.shape[1]} numbers, but the index holds codes of {width}; encode at the size and with the "
            "pooling that the index was built with"
        )
    if cases is not None and len(cases) != len(codes):
        raise DatasetError(f"{len(codes)} codes for {len(cases)} cases; expected one for each")
    with np.errstate(over="ignore"):
        codes = codes.astype(np.float32)
    wrong = ~np.isfinite(codes).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        name = f"row {row}" if cases is None else repr(cases[row].case_id)
        raise DatasetError(
            f"the code of {name} holds NaN or infinity; the network that made it diverged, or its input is broken"
        )
    return codes
