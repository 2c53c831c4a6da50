"""Score-based generative modelling for any kind of data: processes, spaces, solvers, losses.

The core imports torch and numpy only and knows no modality.
"""

from .denoiser import Denoise, Denoiser, Prediction
from .ema import EMA
from .grid import Grid, karras_grid, log_snr_grid, polynomial_grid, uniform_grid
from .losses import EDMWeight, LogNormalTimes, SNRWeight, UniformTimes, UniformWeight, dsm
from .noise import Noise
from .sampling import NonFiniteSample, sample
from .sde import EDM, SDE, VE, VP, RectifiedFlow, log_snr
from .space import DenseSpace, FactorSpace, RaggedSpace, Space

__all__ = [
    "EDM",
    "EMA",
    "SDE",
    "VE",
    "VP",
    "Denoise",
    "Denoiser",
    "DenseSpace",
    "EDMWeight",
    "FactorSpace",
    "Grid",
    "LogNormalTimes",
    "Noise",
    "NonFiniteSample",
    "Prediction",
    "RaggedSpace",
    "RectifiedFlow",
    "SNRWeight",
    "Space",
    "UniformTimes",
    "UniformWeight",
    "dsm",
    "karras_grid",
    "log_snr",
    "log_snr_grid",
    "polynomial_grid",
    "sample",
    "uniform_grid",
]
