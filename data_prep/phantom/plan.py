"""Decides who is examined where, how often, and with which faults, before anything is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.errors import OptionError
from data_prep.phantom.faults import plan_faults
from data_prep.phantom.lesions import DIAGNOSES, PROFILES
from data_prep.phantom.machines import MACHINES, Machine


@dataclass(frozen=True)
class Options:
    """What ``generate_export`` was asked for; see there."""

    out: Path
    num_patients: int | None
    images_per_patient: tuple[int, int]
    num_images: int | None
    size: int
    seed: int
    jobs: int
    faults: float
    twins: bool

    def __post_init__(self) -> None:
        low, high = self.images_per_patient
        if self.num_patients is None and self.num_images is None:
            raise OptionError("Neither a number of patients nor of images was given; give one of them.")
        for name in ("num_patients", "num_images", "jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; it must be 1 or more.")
        if not 1 <= low <= high:
            raise OptionError(f"Images per patient are {low}..{high}; give a..b with 1 <= a <= b.")
        if self.num_patients and self.num_images and self.num_images < self.num_patients:
            got = f"{self.num_images} images for {self.num_patients} patients"
            raise OptionError(f"{got} leave some without one; raise num_images or lower num_patients.")
        if not 64 <= self.size <= 2000:
            raise OptionError(f"The size is {self.size}; give a short side from 64 to 2000 pixels.")
        if not 0 <= self.faults <= 5:
            raise OptionError(f"faults is {self.faults}; give 0 (none) to 5 (five times the usual rates).")
        if (self.out / "table.csv").exists():
            raise OptionError(
                f"{self.out} already holds an export (table.csv); name a new folder or remove it."
            )


@dataclass(frozen=True)
class Job:
    """One patient to render: everything a process needs."""

    out: Path
    patient_id: str
    diagnosis: str
    machine: Machine
    first_index: int
    faults: list[set[str]]
    size: int
    twins: bool
    seed: np.random.SeedSequence

    def file_name(self, frame: int) -> str:
        """Name of the patient's ``frame``-th image."""
        return f"us{self.first_index + frame + 1:06d}.{self.machine.ext}"


def plan_jobs(options: Options) -> list[Job]:
    """One job per patient. Each has a seed of its own, so the files do not depend on who renders them."""
    master, patients = np.random.SeedSequence(options.seed).spawn(2)
    rng = np.random.default_rng(master)
    counts = _frame_counts(rng, options)
    starts = np.cumsum([0, *counts]).tolist()
    diagnoses = _diagnoses(rng, len(counts))
    machines = rng.integers(len(MACHINES), size=len(counts))
    plan = plan_faults(rng, counts, [d != "normal" for d in diagnoses], options.faults)
    jobs = []
    for i, seed in enumerate(patients.spawn(len(counts))):
        faults = plan[starts[i] : starts[i + 1]]
        fixed = (options.size, options.twins, seed)
        jobs.append(
            Job(options.out, f"P{i + 1:05d}", diagnoses[i], MACHINES[machines[i]], starts[i], faults, *fixed)
        )
    return jobs


def _frame_counts(rng: np.random.Generator, options: Options) -> list[int]:
    low, high = options.images_per_patient
    total, patients = options.num_images, options.num_patients
    if total is None:
        return rng.integers(low, high + 1, patients).tolist()
    if patients is not None:
        base, extra = divmod(total, patients)
        return [base + (i < extra) for i in range(patients)]
    counts: list[int] = []
    left = total
    while left:
        counts.append(min(int(rng.integers(low, high + 1)), left))
        left -= counts[-1]
    return counts


def _diagnoses(rng: np.random.Generator, num: int) -> list[str]:
    """Shuffled diagnoses in the shares of ``PROFILES``, which hold in small exports too."""
    upto = np.floor(np.cumsum([PROFILES[d].share for d in DIAGNOSES]) * num + 0.5).astype(int)
    return rng.permutation(np.repeat(DIAGNOSES, np.diff([0, *upto[:-1], num]))).tolist()
