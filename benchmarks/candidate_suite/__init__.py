"""The sections of ``benchmarks/candidates.py``."""
