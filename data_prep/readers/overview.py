"""What a reader found, in a few lines: ``python -m data_prep check EXPORT``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..records import Export


def overview(source: Export) -> str:
    """Layout, counts of images, patients and lesions, and how often each reason and note occurs."""
    kept = [record for record in source.records if record.kept]
    patients = {record.patient_id for record in kept if record.patient_id}
    lesions = Counter(lesion.label for record in kept for lesion in record.lesions)
    lines = [
        f"layout      {source.reader}",
        f"images      {len(source.records)}, of which {len(kept)} can be used so far",
        f"patients    {len(patients) if source.has_patient_ids else 'no patient ids'}",
        f"classes     {', '.join(source.classes) or 'none'}",
        f"lesions     {sum(lesions.values())}{_counts(lesions)}",
        f"diagnoses   {_counts(Counter(record.diagnosis for record in kept)).removeprefix(': ') or 'none'}",
    ]
    facts = Counter(name for record in kept for name in record.extra)
    if facts:
        lines.append(f"facts       {', '.join(f'{name} ({count})' for name, count in sorted(facts.items()))}")
    lines += _section("dropped", (f"{r.stage}.{r.reason}" for r in source.records if not r.kept))
    lines += _section("notes", (f"{n.stage}.{n.code}" for record in source.records for n in record.notes))
    lines += ["remarks", *(f"  {remark}" for remark in source.remarks)] if source.remarks else []
    return "\n".join(lines) + "\n"


def _counts(counter: Counter[str]) -> str:
    return ": " * bool(counter) + ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _section(title: str, codes: Iterable[str]) -> list[str]:
    counts = sorted(Counter(codes).items())
    return [title, *(f"  {code:32} {count:7}" for code, count in counts)] if counts else []
