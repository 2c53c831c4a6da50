"""Score-based generation of molecules and audio on one shared SDE core."""

__version__ = "0.1.0"
