"""The sections of ``benchmarks/vocoder.py``."""
