"""Mel files that say what they hold: the convention travels inside, or in a file beside.

=================  ==========================================================================
suffix             convention
=================  ==========================================================================
``.npy``           in ``NAME.mel.json`` beside ``NAME.npy``
``.pt``            a dict ``{"mel": tensor, "spec": dict or preset name}``
``.safetensors``   the tensor ``mel``, and the metadata ``spec`` (JSON)
=================  ==========================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from scoregen.errors import InputError
from scoregen.files import atomic_path

from .mel import MelSpec

MELS = (".npy", ".pt", ".safetensors")


def sidecar(path: str | os.PathLike[str]) -> Path:
    """Where the convention of a ``.npy`` mel lies: ``a.npy`` → ``a.mel.json``."""
    path = Path(path)
    return path.with_name(f"{path.stem}.mel.json")


def read_mel(path: str | os.PathLike[str], *, mapped: bool = False) -> tuple[Tensor, MelSpec | None]:
    """Read a log-mel and the convention it states.

    A leading axis of 1 is dropped. Nothing is unpickled.

    Args:
        path: the file.
        mapped: leave the values of a float32 ``.npy`` file on the disk until they are used.

    Returns:
        float32 ``(n_mels, F)``, and the convention, or None where none is stated.

    Raises:
        InputError: missing, unreadable, no two-dimensional array of floats, or a damaged convention.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    stated: Any = None
    try:
        if path.suffix.lower() == ".npy":
            mode: Any = "c" if mapped else None
            loaded: Any = torch.from_numpy(np.load(path, mmap_mode=mode, allow_pickle=False))
        elif path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as archive:
                loaded = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
                stated = (archive.metadata() or {}).get("spec")
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # numpy and torch raise many kinds on damaged files
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path}: not readable as a mel array ({reason})") from None
    if isinstance(loaded, dict):
        if "mel" not in loaded:
            raise InputError(f"{path}: a dict without the key 'mel'")
        stated = loaded.get("spec", stated)
        loaded = loaded["mel"]
    if not isinstance(loaded, Tensor) or not loaded.is_floating_point():
        raise InputError(f"{path}: not an array of floating-point numbers")
    mel = loaded.to(torch.float32)
    if mel.ndim == 3 and mel.shape[0] == 1:
        mel = mel[0]
    if mel.ndim != 2:
        raise InputError(f"{path}: shape {tuple(mel.shape)}; need (bands, frames)")
    if path.suffix.lower() == ".npy" and sidecar(path).is_file():
        return mel, _parsed(sidecar(path), sidecar(path).read_bytes())
    return mel, None if stated is None else _parsed(path, stated)


def write_mel(path: str | os.PathLike[str], mel: Tensor, spec: MelSpec) -> None:
    """Write a log-mel ``(n_mels, F)`` with its convention, bit for bit, whole or not at all.

    Raises:
        InputError: the suffix is none of :data:`MELS`.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in MELS:
        raise InputError(f"{path}: cannot write '{path.suffix}'; use one of {', '.join(MELS)}")
    mel = mel.detach().to("cpu", torch.float32).contiguous()
    if kind == ".npy":
        # Between the two writes the array says nothing, rather than something wrong.
        sidecar(path).unlink(missing_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, mel.numpy(), allow_pickle=False)
        with atomic_path(sidecar(path)) as temporary:
            temporary.write_text(json.dumps(spec.to_dict(), indent=1) + "\n", "utf-8")
        return
    with atomic_path(path) as temporary:
        if kind == ".pt":
            torch.save({"mel": mel, "spec": spec.to_dict()}, temporary)
        else:
            save_file({"mel": mel}, temporary, metadata={"spec": json.dumps(spec.to_dict())})


def _parsed(path: Path, stated: Any) -> MelSpec:
    """A convention given as dict, preset name, or either as JSON."""
    try:
        if isinstance(stated, bytes | str) and stated[:1] in ("{", b"{"):
            stated = json.loads(stated)
        if isinstance(stated, Mapping):
            return MelSpec.from_dict(stated)
        if isinstance(stated, str):
            return MelSpec.preset(stated)
        raise InputError("neither a dict nor a preset name")
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: states no readable mel convention ({error}); state it again") from None
