"""Files of z-norm statistics, as TTS toolkits leave them beside their models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from scoregen.errors import InputError

from .mel import MelSpec

STATS = (".json", ".npy", ".npz", ".safetensors")


def read_stats(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, each one number or one a band.

    ===============  =========================================================================
    suffix           holds
    ===============  =========================================================================
    ``.json``        ``{"mean": …, "std": …}``, numbers or lists
    ``.npy``         two rows, mean and standard deviation (ParallelWaveGAN's ``stats.npy``)
    ``.npz``         ``mean`` and ``std``, or ESPnet2's ``count``, ``sum`` and ``sum_square``
    ``.safetensors`` ``mean`` and ``std``
    ===============  =========================================================================

    ``mel_mean`` and ``mel_std`` (Matcha-TTS) stand for ``mean`` and ``std`` anywhere. Nothing is unpickled.

    Returns:
        float64 arrays, each ``()`` or ``(n_mels,)``.

    Raises:
        InputError: missing, unreadable, of another content, not finite, or a deviation that is not positive.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if kind not in STATS:
        raise InputError(f"{path}: statistics are read from {', '.join(STATS)}")
    try:
        if kind == ".npy":
            table = np.load(path, allow_pickle=False)
            held: Mapping[str, Any] = dict(zip(("mean", "std"), table, strict=True))
        elif kind == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                held = {name: archive[name] for name in archive.files}
        else:
            held = load_file(path) if kind == ".safetensors" else json.loads(path.read_text("utf-8"))
        mean, std = (np.squeeze(np.asarray(v, dtype=np.float64)) for v in _pair(held))
    except Exception as error:  # damaged files raise many kinds, and pickles are refused
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path}: not z-norm statistics ({reason}); give mean and std") from None
    if mean.ndim > 1 or std.ndim > 1 or not np.isfinite(mean).all() or not (std > 0).all():
        raise InputError(f"{path}: mean must be finite and std positive, one number or one a band")
    return mean, std


def with_stats(spec: MelSpec, path: str | os.PathLike[str]) -> MelSpec:
    """``spec`` followed by the z-norm of a statistics file.

    Raises:
        InputError: as :func:`read_stats`, or not one number a band.
    """
    mean, std = read_stats(path)
    for values in (mean, std):
        if values.ndim and len(values) != spec.n_mels:
            raise InputError(f"{path}: {len(values)} bands, but '{spec.name}' has {spec.n_mels}")
    return spec.normed(mean.tolist(), std.tolist())


def _pair(held: Mapping[str, Any]) -> tuple[Any, Any]:
    for mean, std in (("mean", "std"), ("mel_mean", "mel_std")):
        if mean in held and std in held:
            return held[mean], held[std]
    if {"count", "sum", "sum_square"} <= set(held):
        mean = np.asarray(held["sum"], dtype=np.float64) / held["count"]
        return mean, np.sqrt(np.asarray(held["sum_square"], dtype=np.float64) / held["count"] - mean**2)
    raise ValueError(f"keys {', '.join(sorted(map(str, held)))}")
