"""ConvNeXt over the frames of a spectrogram (Liu et al., CVPR 2022; for vocoders Siuzdak's Vocos, ICLR
2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over frames, then an MLP on each frame; starts as the identity.

    Args:
        width: channels of a frame.
        kernel: frames of the convolution, odd.
        hidden: width of the MLP.
        dilation: of the convolution.
        level: whether the MLP's input is scaled and shifted by an encoded noise level.
    """

    def __init__(self, width: int, kernel: int, hidden: int, dilation: int = 1, level: bool = False):
        super().__init__()
        self.reach = dilation * (kernel // 2)
        self.mix = nn.Conv1d(width, width, kernel, padding=self.reach, dilation=dilation, groups=width)
        self.norm = nn.LayerNorm(width)
        self.level = nn.Linear(width, 2 * width) if level else None
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        for layer in (self.level, self.narrow):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """``(B, F, width)`` and, if the block has one, the encoded level ``(B, 1, width)`` → the same
        shape."""
        y = self.norm(self.mix(x.transpose(1, 2)).transpose(1, 2))
        if self.level is not None and level is not None:
            shift, gain = self.level(level).chunk(2, dim=-1)
            y = torch.addcmul(shift, y, 1 + gain)
        change: Tensor = self.narrow(functional.gelu(self.widen(y)))
        return x + change
