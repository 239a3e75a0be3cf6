"""Stub."""

from __future__ import annotations

from pathlib import Path


def write_report(out: Path, export: Path) -> Path:
    """Write report.html."""
    return out / "report.html"
