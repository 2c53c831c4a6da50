"""How exported networks are put together to a waveform, in words; ``model.json`` holds the one that fits."""

from __future__ import annotations

_MEL = (
    "log_mel: of the convention 'mel', at the training level of loudness (Vocoder.gain). Frame f is centred"
    " in the middle of samples f·hop to (f + 1)·hop; conventions with centred frames are averaged in pairs."
)

CHAIN = (
    _MEL,
    "β: one of config.chain.schedules, or any other. ᾱ_k is the product of (1 − β_j) for j up to k.",
    "Noise: prior.onnx on independent normal numbers, new ones each time.",
    "Start: x = √(1 − ᾱ_K) · noise.",
    "For k = K … 1: epsilon = network.onnx(x, √ᾱ_k, log_mel);"
    " x becomes (x − β_k / √(1 − ᾱ_k) · epsilon) / √(1 − β_k);"
    " for k > 1 add √(β_k (1 − ᾱ_{k−1}) / (1 − ᾱ_k)) · noise.",
    "x is the waveform.",
)

_GUIDED = (
    _MEL,
    "Classical parts are not exported: STFT and Griffin-Lim (scoregen/audio/phase.py), magnitudes brought to"
    " the mel (estimate.py), phases from slopes (heap.py), the blend (guided.py).",
    "Once: magnitude.onnx gives M = exp(log_magnitude), to be scaled so that its mel is log_mel.",
    "Start: an estimate with magnitudes M plus r · noise, r = config.start; noise is prior.onnx on"
    " independent normal numbers.",
    "Each call, at a state x and noise level r: 'filtered' is x through the Wiener filter M² / (M² + (r S)²),"
    " S the deviation of the noise on the STFT's grid; 'rebuilt' is config.iterations of Griffin-Lim with M"
    " from the phases of x; the classical estimate C blends them, config.blend² : r².",
)
_SOLVER = (
    "DPM-Solver++(2M) takes the state on to a lower r, down to 0.05 (half of config.start where that is"
    " less); the last denoised estimate is the waveform."
)

GUIDED = (
    *_GUIDED,
    "correction = network.onnx(x / √(1 + r²), ¼ ln r, log_mel, filtered, rebuilt), the latter two whitened"
    " (the inverse of prior.onnx), cut off at ±8 and faded over half a hop. Denoised:"
    " C + r / √(1 + r²) · correction.",
    _SOLVER,
)

FRAMES = (
    *_GUIDED,
    "correction = network.onnx(STFT of x, STFT of C, M, r S, ¼ ln r). Denoised: C + inverse STFT of the"
    " correction.",
    _SOLVER,
)
