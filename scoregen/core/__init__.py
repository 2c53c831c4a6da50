"""Score-based generative modelling for any kind of data: processes, spaces, solvers, losses.

The core imports torch and numpy only and knows no modality.
"""

from .calibration import calibrate
from .ddpm import DDPM
from .denoiser import Denoise, Denoiser, Prediction
from .ema import EMA
from .fields import ProductSDE, ProductSpace
from .flow import decode, encode, sample_ode, transport
from .grid import Grid, karras_grid, log_snr_grid, polynomial_grid, uniform_grid
from .guidance import (
    DPS,
    Autoguidance,
    ClassifierFree,
    Compose,
    EnergyGuidance,
    Inpainting,
    MomentMatching,
    PiGDM,
    Within,
)
from .likelihood import Likelihood, bits_per_dim, log_likelihood, log_prob
from .losses import dsm, sliced
from .noise import Noise
from .ode import IntegrationError, Solution, integrate, integrate_fixed
from .sampling import Guide, NonFiniteSample, sample
from .sde import EDM, SDE, VE, VP, Cosine, RectifiedFlow, SubVP, log_snr
from .space import DenseSpace, FactorSpace, RaggedSpace, Space
from .uncertainty import Ensemble, draw_ensemble, summarise
from .weighting import (
    EDMWeight,
    LikelihoodWeight,
    LogNormalTimes,
    LogSNRTimes,
    MinSNRWeight,
    SNRWeight,
    Stratified,
    UncertaintyWeight,
    UniformTimes,
    UniformWeight,
)

__all__ = [
    "DDPM",
    "DPS",
    "EDM",
    "EMA",
    "SDE",
    "VE",
    "VP",
    "Autoguidance",
    "ClassifierFree",
    "Compose",
    "Cosine",
    "Denoise",
    "Denoiser",
    "DenseSpace",
    "EDMWeight",
    "EnergyGuidance",
    "Ensemble",
    "FactorSpace",
    "Grid",
    "Guide",
    "Inpainting",
    "IntegrationError",
    "Likelihood",
    "LikelihoodWeight",
    "LogNormalTimes",
    "LogSNRTimes",
    "MinSNRWeight",
    "MomentMatching",
    "Noise",
    "NonFiniteSample",
    "PiGDM",
    "Prediction",
    "ProductSDE",
    "ProductSpace",
    "RaggedSpace",
    "RectifiedFlow",
    "SNRWeight",
    "Solution",
    "Space",
    "Stratified",
    "SubVP",
    "UncertaintyWeight",
    "UniformTimes",
    "UniformWeight",
    "Within",
    "bits_per_dim",
    "calibrate",
    "decode",
    "draw_ensemble",
    "dsm",
    "encode",
    "integrate",
    "integrate_fixed",
    "karras_grid",
    "log_likelihood",
    "log_prob",
    "log_snr",
    "log_snr_grid",
    "polynomial_grid",
    "sample",
    "sample_ode",
    "sliced",
    "summarise",
    "transport",
    "uniform_grid",
]
