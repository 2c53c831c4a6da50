"""Confidence intervals; they are those of the conformer benchmark."""

from conformer_suite.bootstrap import interval

__all__ = ["interval"]
