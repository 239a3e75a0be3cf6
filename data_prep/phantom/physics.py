"""From tissue maps in polar geometry to grey levels: speckle, envelope, attenuation, log compression.

A resolution cell of liver holds many scatterers whose carrier phases are uniform, so each polar cell carries
a circular complex Gaussian, the complex baseband of the echo, whose amplitude is the tissue's. It is
convolved with a separable point-spread function: a Gaussian pulse along the line, and across the lines a
Gaussian whose width in mm is smallest at the focus and grows away from it. The magnitude is the envelope
(Rayleigh in homogeneous tissue). Burckhardt, IEEE Trans. Sonics Ultrason. 25 (1978); Wagner et al., ibid. 30
(1983).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft as sp_fft

from data_prep.phantom.geometry import MARGIN, NUM_LINES, NUM_SAMPLES, Sector

SHAPE = (NUM_SAMPLES, NUM_LINES + 2 * MARGIN)


@dataclass(frozen=True)
class Psf:
    """Point-spread function: standard deviations in mm, focus and depth of field in mm."""

    axial_mm: float = 0.3
    lateral_mm: float = 0.6
    focus_mm: float = 65.0
    field_mm: float = 45.0

    def lateral_at(self, depth_mm: np.ndarray) -> np.ndarray:
        """Lateral standard deviation in mm at each depth."""
        return self.lateral_mm * np.sqrt(1 + ((depth_mm - self.focus_mm) / self.field_mm) ** 2)


def complex_noise(rng: np.random.Generator) -> np.ndarray:
    """Circular complex Gaussian of unit variance, SHAPE."""
    pair = rng.standard_normal((*SHAPE, 2), dtype=np.float32)
    pair *= np.float32(np.sqrt(0.5))
    return pair.view(np.complex64)[..., 0]


def depths(sector: Sector) -> np.ndarray:
    """Depth of every sample in mm, (NUM_SAMPLES,)."""
    return np.arange(NUM_SAMPLES, dtype=np.float32) * np.float32(sector.sample_mm)


def _filter_axial(field: np.ndarray, sigma: float) -> np.ndarray:
    half = max(int(np.ceil(3 * sigma)), 1)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel = (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)
    pair = field.view(np.float32).reshape(*field.shape, 2)
    out = cv2.sepFilter2D(pair, cv2.CV_32F, np.ones(1, np.float32), kernel, borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(out).view(np.complex64)[..., 0]


def _filter_lateral(field: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Convolve each row with its own Gaussian (``sigma`` in lines) of unit energy."""
    freq = sp_fft.fftfreq(field.shape[1]).astype(np.float32) * np.float32(2 * np.pi)
    transfer = np.exp(np.float32(-0.5) * (sigma[:, None] * freq[None]) ** 2)
    transfer *= (field.shape[1] ** 0.5) / np.sqrt((transfer**2).sum(1, keepdims=True))
    spectrum = sp_fft.fft(field, axis=1, overwrite_x=True)
    spectrum *= transfer
    return sp_fft.ifft(spectrum, axis=1, overwrite_x=True)


def envelope(
    noise: np.ndarray, amplitude: np.ndarray, sector: Sector, psf: Psf, specular: np.ndarray | None = None
) -> np.ndarray:
    """Echo magnitude (NUM_SAMPLES, lines) of tissue with scatterer ``amplitude`` and coherent ``specular``.

    ``noise`` is ``complex_noise``; homogeneous tissue of amplitude 1 gives mean intensity 1.
    """
    field = noise * amplitude
    if specular is not None:
        field += specular
    field = _filter_axial(field, psf.axial_mm / sector.sample_mm)
    depth = depths(sector)
    spacing = (sector.radius_mm + depth) * sector.line_step
    field = _filter_lateral(field, (psf.lateral_at(depth) / spacing).astype(np.float32))
    return cv2.magnitude(np.ascontiguousarray(field.real), np.ascontiguousarray(field.imag))


def path_gain_db(attenuation: np.ndarray, sector: Sector, cap_db: float = 9.0) -> np.ndarray:
    """Two-way gain along each line from the excess attenuation in dB/mm (negative: enhancement)."""
    gain = np.cumsum(attenuation, axis=0, dtype=np.float32)
    gain *= np.float32(-sector.sample_mm)
    return np.minimum(gain, np.float32(cap_db), out=gain)


def add_receiver_noise(env: np.ndarray, noise: np.ndarray, floor_db: np.ndarray) -> np.ndarray:
    """Root of the summed powers of echo and receiver noise; ``floor_db`` (NUM_SAMPLES,) is after TGC."""
    floor = np.abs(np.roll(noise, (97, 61), axis=(0, 1)))  # an independent part of the same field
    floor *= (10 ** (floor_db / 20)).astype(np.float32)[:, None]
    return cv2.magnitude(env, floor)


def smooth(env: np.ndarray, axial: float, lateral: float) -> np.ndarray:
    """Average the intensity over a Gaussian neighbourhood (compounding and persistence), in cells."""
    if max(axial, lateral) < 0.2:
        return env
    power = cv2.GaussianBlur(env * env, (0, 0), sigmaX=max(lateral, 0.2), sigmaY=max(axial, 0.2))
    return cv2.sqrt(power)


def log_compress(env: np.ndarray, range_db: float, liver_grey: float, gamma: float) -> np.ndarray:
    """Envelope to uint8: ``range_db`` from black to white, amplitude 1 at ``liver_grey`` in [0, 1]."""
    level = cv2.log(np.maximum(env, np.float32(1e-5)))
    level *= np.float32(20 / np.log(10) / range_db)
    level += np.float32(liver_grey)
    np.clip(level, 0, 1, out=level)
    curve = np.round(255 * np.linspace(0, 1, 256) ** gamma).astype(np.uint8)
    return cv2.LUT(cv2.convertScaleAbs(level, alpha=255.0), curve)
