"""The sections of ``benchmarks/conformers.py``, one module each; ``REGISTRY`` lists them in order."""
