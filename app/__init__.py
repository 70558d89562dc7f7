"""Sightline's frame path: decode, fit, detect, track; runs in one process with no Ray and no CUDA."""

__version__ = "0.1.0"
