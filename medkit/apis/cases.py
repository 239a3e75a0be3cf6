"""What an index of cases is about: a case, a case that was found, and the model whose codes can be compared.

Used by `medkit.apis.case_index` and ``python tools/retrieve.py``.
"""

from dataclasses import asdict, dataclass

from medkit.errors import WeightsError

__all__ = ["Case", "FoundCase", "ModelFingerprint"]


@dataclass(frozen=True, slots=True)
class Case:
    """One scan or image.

    Attributes:
        case_id: its name, of which an index holds one.
        subject: person it is of; a case without one counts as a person of its own.
        label: diagnosis or grade; empty where nobody gave one.
        visit: which of the subject's visits.
        path: file, for the page.
    """

    case_id: str
    subject: str = ""
    label: str = ""
    visit: str = ""
    path: str = ""

    @property
    def person(self) -> str:
        """Whom it is of, as a key that no other person has."""
        return f"subject {self.subject}" if self.subject else f"case {self.case_id}"


@dataclass(frozen=True, slots=True)
class FoundCase:
    """A case and how far it is: the Euclidean distance of the codes, or 1 less their cosine similarity."""

    case: Case
    distance: float


@dataclass(frozen=True)
class ModelFingerprint:
    """What codes depend on; only codes of one fingerprint can be compared.

    Attributes:
        model: kind of network, for the reader of a message.
        weights: hash of all parameters and buffers.
        preprocessing: whatever else a code depends on, as text: network, size, intensities, pooling.
    """

    model: str
    weights: str
    preprocessing: str = ""

    def require(self, other: "ModelFingerprint", what: str) -> None:
        """Refuse ``other``, the fingerprint of ``what``, unless it is the same.

        Raises:
            WeightsError: it differs; the message says in what.
        """
        mine, theirs = asdict(self), asdict(other)
        differs = [name for name in mine if mine[name] != theirs[name]]
        if differs:
            values = "; ".join(f"{name} {theirs[name][:300]!r}, index {mine[name][:300]!r}" for name in differs)
            raise WeightsError(
                f"{what} was made with another model than the index ({values}): distances between them mean nothing; "
                "use the config and checkpoint that the index was built with, or build a new index"
            )
