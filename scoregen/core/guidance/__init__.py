"""Guidance: wrappers of the denoiser that steer sampling, ``Denoise -> Denoise``.

All act on the denoised estimate while sampling, work for every space, keep the samples of a batch apart
and compose from left to right (:class:`Compose`).

* :class:`ClassifierFree`, :class:`Autoguidance`: away from a weaker denoiser; :class:`Within`: only in an
  interval of noise levels.
* :class:`EnergyGuidance`: towards low energy, or a classifier's class.
* :class:`Inpainting`: part of the sample is given.
* :class:`MomentMatching`, :class:`PiGDM`, :class:`DPS`: linear measurements of the sample are given.
"""

from .energy import EnergyGuidance
from .inpainting import Inpainting
from .inverse import DPS, MomentMatching, PiGDM, conjugate_gradients
from .local import Local, Weight, covariance
from .mixing import Autoguidance, ClassifierFree, Compose, Within

__all__ = [
    "DPS",
    "Autoguidance",
    "ClassifierFree",
    "Compose",
    "EnergyGuidance",
    "Inpainting",
    "Local",
    "MomentMatching",
    "PiGDM",
    "Weight",
    "Within",
    "conjugate_gradients",
    "covariance",
]
