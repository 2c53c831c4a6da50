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

_CLASSICAL = (
    _MEL,
    "What is not learned is not exported: STFTs (scoregen/audio/phase.py), magnitudes and waveforms brought"
    " to the mel (matching.py), the spanning tree (heap.py), the power method (synchrony.py), the Wiener"
    " filter and the blend (guided.py). All but one STFT have config.spectrum.finer as many frames as"
    " the mel.",
    "Once: spectrum.onnx. M = exp(log_magnitude), scaled so that its mel is log_mel. Each certainty is"
    " multiplied by √(M M') of its two cells, and by 3 if it is 'up'.",
    "Estimate: phases are the sums of the differences along the spanning tree that keeps to the loudest"
    " cells, then config.rounds of the power method; bins above those of 'across' get the phases of white"
    " noise. Inverse STFT with M, twice filtered so that its mel comes nearer to log_mel.",
    "Start: estimate + r · noise, r = config.start; noise is prior.onnx on independent normal numbers.",
    "Each call, at a state x with STFT Y and noise level r, where S is the deviation of prior.onnx's noise on"
    " the STFT's grid. One waveform is x through the Wiener filter M² / (M² + (r S)²). The other has"
    " magnitudes M and the phases of config.iterations of the power method that start at those of Y and"
    " hear, beside their neighbours, Y · 0.06 M² / (r S)². The classical estimate C blends them,"
    " config.blend² : r².",
)
_SOLVER = (
    "DPM-Solver++(2M) takes the state on to a lower r, down to 0.05 (half of config.start where that is"
    " less); the last denoised estimate is the waveform."
)

GUIDED = (*_CLASSICAL, "Denoised: C.", _SOLVER)

FRAMES = (
    *_CLASSICAL,
    "correction = network.onnx(STFT of x, STFT of C, M, r S, ¼ ln r), all with as many frames as the mel and"
    " one more at either end. Denoised: C + inverse STFT of the correction.",
    _SOLVER,
)
