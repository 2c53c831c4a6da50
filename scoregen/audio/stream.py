"""Mels in pieces, waveforms in pieces: blocks on a fixed grid, the same however the mel arrives.

A block is rendered together with :data:`CONTEXT` frames on either side, with noise indexed by position. What
a sample owes to frames farther away is below what 16 bits resolve. Since whole spectrograms are rendered in
the same blocks, a stream gives the same samples as the whole, for any sizes of its pieces, and memory does
not grow with its length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scoregen.core import Noise
from scoregen.errors import InputError

from .loudness import gain_to_target, scale_mel
from .mel import MelSpec, aligned
from .render import Renderer, Start

BLOCK = 256
"""Frames of a block (3 s at 22.05 kHz and a hop of 256)."""

CONTEXT = 32
"""Frames on either side of a block that it is rendered with."""

PAD = 4
"""Frames of mel that overlap the ends of a clip, so that edge effects fall outside it."""


class Stream:
    """One waveform (or a batch of equal length) in the making.

    Args:
        renderer: of the model.
        spec: its mel convention.
        ids: keys of the noise, int64 ``(B,)``.
        device: where the network lives.
        seed, steps, start: as in :meth:`scoregen.audio.vocoder.Vocoder.synthesize`.
        block: frames of a block; smaller ones come sooner and cost more.
        gain: factors ``(B,)`` to the training level; None measures them on what has arrived when the first
            block is rendered.

    Raises:
        InputError: ``steps`` or ``block`` below 1.
    """

    def __init__(
        self,
        renderer: Renderer,
        spec: MelSpec,
        ids: Tensor,
        device: torch.device,
        *,
        seed: int,
        steps: int,
        start: Start,
        block: int = BLOCK,
        gain: Tensor | None = None,
    ):
        if steps < 1:
            raise InputError(f"steps must be at least 1, got {steps}")
        if block < 1:
            raise InputError(f"block must be at least 1 frame, got {block}")
        self.renderer, self.spec, self.ids, self.device = renderer, spec, ids, device
        self.seed, self.steps, self.start, self.block, self.gain = seed, steps, start, block, gain
        self.context = min(CONTEXT, renderer.halo(steps, start))
        empty = torch.zeros(len(ids), spec.n_mels, 0)
        self._pending, self._frames = empty, empty  # centred frames that wait for the next one; aligned ones
        self._first = 0  # place of the first frame held, PAD frames before the clip counted
        self._next = 0  # place of the next block
        self._known: Tensor | None = None  # phases of the frames before it that it is rendered with
        self._closed = False

    @property
    def latency(self) -> float:
        """Seconds of mel beyond a sample, at most, that must have arrived before it is made."""
        frames = self.block + self.context + int(self.spec.centre)
        return frames * self.spec.hop / self.spec.sample_rate

    def push(self, mel: Tensor, source: str = "mel") -> Tensor:
        """Take the next frames and make what can be made.

        Args:
            mel: log-mel ``(B, n_mels, f)``, ``f ≥ 0``.
            source: how error messages name the input.

        Returns:
            The next samples ``(B, T)``; T may be 0.

        Raises:
            InputError: a mel of another shape or convention, or after :meth:`close`.
        """
        if self._closed:
            raise InputError(f"{source}: the stream is closed")
        if mel.shape[-1] == 0:
            return torch.zeros(len(self.ids), 0)
        self.spec.check(mel, source)
        if self.spec.centre:
            mel = torch.cat((self._pending, mel), dim=-1)
            self._pending, mel = mel[..., -1:], aligned(self.spec, mel)[..., :-1]
        return self._take(mel)

    def close(self) -> Tensor:
        """The rest of the waveform, ``(B, T)``; nothing can be pushed afterwards."""
        self._closed = True
        made = self._take(self._pending) if self._pending.shape[-1] else self._pending[:, 0]
        if self._first + self._frames.shape[-1] == 0:
            return made
        last = self._frames[..., -1:].expand(-1, -1, PAD)
        self._frames = torch.cat((self._frames, last), dim=-1)
        rest = self._make(final=True)
        return torch.cat((made, rest[:, : rest.shape[1] - PAD * self.spec.hop]), dim=1)

    def _take(self, mel: Tensor) -> Tensor:
        if mel.shape[-1] and self._first + self._frames.shape[-1] == 0:
            mel = torch.cat((mel[..., :1].expand(-1, -1, PAD), mel), dim=-1)
        self._frames = torch.cat((self._frames, mel), dim=-1)
        return self._make(final=False)

    def _make(self, final: bool) -> Tensor:
        """Render the blocks whose context is known; at the end what is left."""
        pieces = [torch.zeros(len(self.ids), 0)]
        while True:
            end = self._first + self._frames.shape[-1]
            stop = self._next + self.block
            if not final and stop + self.context > end:
                break
            if self._next >= end:
                break
            stop = min(stop, end)
            pieces.append(self._block(self._next, stop, end))
            self._next = stop
            unused = max(0, self._next - self.context - self._first)
            self._frames, self._first = self._frames[..., unused:], self._first + unused
        return torch.cat(pieces, dim=1)

    def _block(self, first: int, stop: int, end: int) -> Tensor:
        low, high = max(0, first - self.context), min(end, stop + self.context)
        mel = self._frames[..., low - self._first : high - self._first]
        if self.gain is None:
            silence = self._frames.amax((1, 2)) <= self.spec.lowest + 0.1
            self.gain = torch.where(silence, 1.0, gain_to_target(self.spec, self._frames))
        hop = self.spec.hop
        silent = mel.amax((1, 2)) <= self.spec.lowest + 0.1
        if bool(silent.all()):
            self._known = None
            wave = torch.zeros(len(self.ids), (high - low) * hop)
        else:
            level = scale_mel(self.spec, mel, self.gain).to(self.device)
            noise = Noise(self.seed, self.ids, low * hop)
            made = self.renderer.render(level, noise, self.steps, self.start, self._known)
            wave = torch.where(silent[:, None], 0.0, made.wave.cpu() / self.gain[:, None])
            if made.phases is not None:
                finer = made.phases.shape[-1] // (high - low)
                self._known = made.phases[
                    ..., finer * max(0, stop - self.context - low) : finer * (stop - low)
                ]
        # The PAD frames before the clip belong to the first block alone where blocks are no shorter.
        begin = max(first, PAD)
        return wave[:, (begin - low) * hop : (stop - low) * hop] if stop > begin else wave[:, :0]
