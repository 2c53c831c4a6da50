"""What a vocoder makes of held-out mels while it is trained, beside the recordings. No soundfile here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scoregen.core import Noise
from scoregen.core.denoiser import Denoiser
from scoregen.core.sampling import NonFiniteSample
from scoregen.training.cache import Cache
from scoregen.training.previews import Picture, Sound

from .config import VocoderModelConfig
from .crops import as_float, stored_mel
from .mel import MelSpec, aligned
from .render import DEFAULT_STEPS, Start, renderer

CLIPS = 2
"""Clips shown."""

SECONDS = 1.5
"""Of each clip, at most; both together cost a few seconds of one CPU core."""

SHORTEST = 16
"""Frames; shorter clips are not shown."""

_MAP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)
"""Colours from the floor to the loudest cell, evenly spaced; between them linear."""


class Previews:
    """The middle of a few held-out clips, the first of each speaker before the others.

    Args:
        cache: prepared recordings.
        model: the vocoder's configuration, with the cache's mel convention.
    """

    def __init__(self, cache: Cache, model: VocoderModelConfig):
        self.model, self.spec = model, model.spec()
        self.clips: dict[str, tuple[Tensor, Tensor]] = {}
        most = int(SECONDS * self.spec.sample_rate) // self.spec.hop
        for record in _spread(cache, most // 2):
            held = cache[record]
            whole = len(held["wave"]) // self.spec.hop
            frames = min(most, whole)
            first = (whole - frames) // 2
            wave = as_float(held["wave"][first * self.spec.hop : (first + frames) * self.spec.hop])
            if "mel" in held:  # what a TTS made
                mel = stored_mel(self.spec, held["mel"], first, frames)
            else:
                mel = _mel(self.spec, wave)
            facts = cache.facts[record]
            self.clips[f"{facts.get('speaker', 'clip')}-{facts.get('name', record)}"] = wave, mel

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> list[Sound | Picture]:
        """Recording, synthesis and both log-mels of each clip; a synthesis that is not finite is left out."""
        shown: list[Sound | Picture] = []
        device = next(denoiser.parameters()).device
        render = renderer(denoiser, self.model)
        start = Start(self.model.init, self.model.start)
        for number, (name, (wave, mel)) in enumerate(self.clips.items()):
            shown.append(Sound(f"recording/{name}", wave.numpy(), self.spec.sample_rate, fixed=True))
            noise = Noise(0, torch.tensor([number], device=device))
            try:
                made = render.render(mel[None].to(device), noise, DEFAULT_STEPS, start).wave[0].float().cpu()
            except NonFiniteSample:
                continue
            shown.append(Sound(f"synthesis/{name}", made.numpy(), self.spec.sample_rate))
            pixels = picture(_mel(self.spec, wave).numpy(), _mel(self.spec, made).numpy())
            shown.append(Picture(f"log-mel, recording over synthesis/{name}", pixels))
        return shown


def _spread(cache: Cache, frames: int) -> list[int]:
    """Held-out records: long ones before short ones, then one of each speaker before a second of any."""
    records = [int(record) for record in cache.select(split="dev")]
    hop = MelSpec.from_dict(cache.info["spec"]).hop
    lengths = cache.lengths("wave") // hop
    met: dict[str, int] = {}
    order = []
    for record in records:
        speaker = str(cache.facts[record].get("speaker"))
        met[speaker] = met.get(speaker, 0) + 1
        order.append((lengths[record] < frames, met[speaker], record))
    return [record for _, _, record in sorted(order) if lengths[record] >= SHORTEST][:CLIPS]


def _mel(spec: MelSpec, wave: Tensor) -> Tensor:
    return aligned(spec, spec(wave), len(wave) // spec.hop)


def picture(above: np.ndarray, below: np.ndarray, scale: int = 3, gap: int = 4) -> np.ndarray:
    """Two log-mels ``(n_mels, F)`` one over the other, on one scale of colours, low bands at the bottom.

    Args:
        above, below: values; the scale is from the least to the largest of ``above``.
        scale: pixels for each cell, in both directions.
        gap: white rows between them.

    Returns:
        uint8 ``(height, width, 3)``.
    """
    low, high = float(above.min()), float(above.max())
    parts = []
    for mel in (above, below):
        level = ((mel[::-1] - low) / max(high - low, 1e-6)).clip(0, 1) * (len(_MAP) - 1)
        colours = [np.interp(level, np.arange(len(_MAP)), _MAP[:, channel]) for channel in range(3)]
        parts.append(np.stack(colours, axis=-1).repeat(scale, axis=0).repeat(scale, axis=1))
    white = np.full((gap, parts[0].shape[1], 3), 255.0)
    return np.concatenate((parts[0], white, parts[1])).round().astype(np.uint8)
