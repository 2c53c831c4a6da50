"""Score-based generative modelling for any kind of data: processes, spaces, solvers, losses.

The core imports torch and numpy only and knows no modality.
"""

from .calibration import Calibration, calibrate, end_point_error
from .ddpm import DDPM, betas_of, from_ddpm, linear_betas, to_ddpm, zero_terminal_snr
from .denoiser import Denoise, Denoiser, Prediction, estimate_from
from .ema import EMA
from .fields import ProductSDE, ProductSpace
from .flow import decode, encode, sample_ode, transport
from .grid import (
    Grid,
    grid_from_config,
    grid_to_config,
    karras_grid,
    log_snr_grid,
    polynomial_grid,
    quantile_grid,
    uniform_grid,
)
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
from .likelihood import Likelihood, bits_per_dim, gaussian_log_density, log_likelihood, log_prob
from .losses import Noised, denoising_error, dsm, noised, sliced
from .noise import Noise
from .ode import IntegrationError, Solution, integrate, integrate_fixed
from .sampling import Guide, NonFiniteSample, sample
from .sde import EDM, SDE, VE, VP, Cosine, RectifiedFlow, SubVP, log_snr, sde_from_config, sde_to_config
from .solvers import SOLVERS, Solver, solver_by_name
from .space import DenseSpace, FactorSpace, RaggedSpace, Space
from .uncertainty import Ensemble, draw_ensemble, member_noise, summarise
from .weighting import (
    EDMWeight,
    LikelihoodWeight,
    LogNormalTimes,
    LogSNRTimes,
    MinSNRWeight,
    SNRWeight,
    Stratified,
    TimeSampler,
    UncertaintyWeight,
    UniformTimes,
    UniformWeight,
    Weight,
)

__all__ = [
    "DDPM",
    "DPS",
    "EDM",
    "EMA",
    "SDE",
    "SOLVERS",
    "VE",
    "VP",
    "Autoguidance",
    "Calibration",
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
    "Noised",
    "NonFiniteSample",
    "PiGDM",
    "Prediction",
    "ProductSDE",
    "ProductSpace",
    "RaggedSpace",
    "RectifiedFlow",
    "SNRWeight",
    "Solution",
    "Solver",
    "Space",
    "Stratified",
    "SubVP",
    "TimeSampler",
    "UncertaintyWeight",
    "UniformTimes",
    "UniformWeight",
    "Weight",
    "Within",
    "betas_of",
    "bits_per_dim",
    "calibrate",
    "decode",
    "denoising_error",
    "draw_ensemble",
    "dsm",
    "encode",
    "end_point_error",
    "estimate_from",
    "from_ddpm",
    "gaussian_log_density",
    "grid_from_config",
    "grid_to_config",
    "integrate",
    "integrate_fixed",
    "karras_grid",
    "linear_betas",
    "log_likelihood",
    "log_prob",
    "log_snr",
    "log_snr_grid",
    "member_noise",
    "noised",
    "polynomial_grid",
    "quantile_grid",
    "sample",
    "sample_ode",
    "sde_from_config",
    "sde_to_config",
    "sliced",
    "solver_by_name",
    "summarise",
    "to_ddpm",
    "transport",
    "uniform_grid",
    "zero_terminal_snr",
]
