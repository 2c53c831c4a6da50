"""Section ``phases``: what the estimate owes to its magnitudes, to its phase differences and to their use.

The estimate of guided models is made again with parts of it replaced: by those of the recording, which no
vocoder knows, or by simpler ones. PESQ-WB, mean over all clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torchaudio
from common import print_table
from suite.bootstrap import interval
from suite.runner import progress

from scoregen.audio import heap
from scoregen.audio.guided import Condition, Guided
from scoregen.audio.mel import aligned
from scoregen.audio.metrics import pesq_wb
from scoregen.audio.phase import analyse, outer, unit
from scoregen.audio.render import GuidedRenderer
from scoregen.audio.synchrony import Edges, edges_of, synchronise
from scoregen.audio.vocoder import Vocoder

from .options import Options
from .workbench import Workbench

DEFAULTS = Options(clips=4, seconds=6.0)
LOW = 1000.0
"""Hz below which parts are replaced alone."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows by model and variant, and the scores of every clip."""
    rows = []
    for label, vocoder in bench.vocoders.items():
        if not isinstance(vocoder.renderer, GuidedRenderer):
            continue
        scores: dict[str, list[float]] = {}
        for clip in bench.clips(options.clips, options.seconds):
            progress(f"phases: {label}, {clip.name}")
            spec = vocoder.spec
            heard = torchaudio.functional.resample(torch.from_numpy(clip.wave), clip.rate, spec.sample_rate)
            heard = heard[: len(heard) // spec.hop * spec.hop]
            for name, wave in variants(vocoder, heard[None], options.seed):
                scores.setdefault(name, []).append(pesq_wb(heard.numpy(), wave[0].numpy(), spec.sample_rate))
        for name, values in scores.items():
            limits = interval(values, seed=options.seed)
            row = {"model": label, "variant": name, "pesq_wb": float(np.mean(values)), "interval": limits}
            rows.append({**row, "clips": values})
    progress("phases: done\n")
    return {"rows": rows}


@torch.no_grad()
def variants(vocoder: Vocoder, wave: torch.Tensor, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and waveforms ``(1, F * hop)`` for a recording at the model's rate."""
    network, spec = vocoder.network, vocoder.spec
    assert isinstance(network, Guided)
    mel = aligned(spec, spec(wave), wave.shape[1] // spec.hop)
    space = vocoder.renderer.prior.space(mel)
    cond = network.condition(mel, space)
    band = network.spectrum.band
    true = analyse(network.grid, wave)[..., 1:-1]
    exact, learned = edges_of(true[:, :band]), cond.edges
    exact = Edges(
        unit(exact.across) * learned.across.abs(), unit(exact.up) * learned.up.abs()
    )  # as certain as ours
    told = network.spectrum.heads(mel)
    plain = Edges(*(torch.polar(torch.ones_like(s), s) for s in told.slopes)).weighted(
        cond.magnitude[:, :band]
    )
    white = torch.randn(wave.shape, generator=torch.Generator().manual_seed(seed))
    above = unit(analyse(network.grid, white)[:, band:, 1:-1])
    low = (torch.arange(band) * spec.sample_rate / spec.n_fft < LOW)[:, None]

    def made(edges: Edges, rounds: int = network.rounds, cond: Condition = cond) -> torch.Tensor:
        phases = heap.phases(cond.magnitude[:, :band], edges.across.angle(), edges.up.angle())
        z = synchronise(edges, torch.polar(torch.ones_like(phases), phases), rounds=rounds)
        return network.waveform(cond, z, above)

    def with_magnitudes(magnitude: torch.Tensor) -> Condition:
        return Condition(cond.mel, magnitude, cond.edges, cond.deviation)

    yield "as it is", made(learned)
    yield "100 rounds of the power method", made(learned, 100)
    yield "tree alone", made(learned, 0)
    yield "differences of the magnitudes alone", made(plain)
    yield "differences of the magnitudes alone, tree alone", made(plain, 0)
    yield "60 iterations of Griffin-Lim for the phases", _griffin_lim(network, cond, seed)
    yield "true differences over frames", made(Edges(exact.across, learned.up))
    yield "true differences over bins", made(Edges(learned.across, exact.up))
    mixed = Edges(torch.where(low, exact.across, learned.across), torch.where(low[:-1], exact.up, learned.up))
    yield f"true differences below {LOW:.0f} Hz", made(mixed)
    yield "true phases", network.waveform(cond, unit(true[:, :band]), unit(true[:, band:]))
    lowest = torch.zeros(true.shape[1], 1, dtype=torch.bool)
    lowest[:band] = low
    partly = torch.where(lowest, true.abs(), cond.magnitude)
    yield f"true magnitudes below {LOW:.0f} Hz", made(learned, cond=with_magnitudes(partly))
    yield "true magnitudes", made(learned, cond=with_magnitudes(true.abs()))


def _griffin_lim(network: Guided, cond: Condition, seed: int) -> torch.Tensor:
    """torchaudio's, on the same grid with the same magnitudes, and the mel corrections of the estimate."""
    grid = network.grid
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wave = torchaudio.functional.griffinlim(
            outer(cond.magnitude),
            torch.hann_window(grid.win_length),
            grid.n_fft,
            grid.hop,
            grid.win_length,
            power=1.0,
            n_iter=60,
            momentum=0.99,
            length=(cond.magnitude.shape[-1] + 1) * grid.hop,
            rand_init=True,
        )
    start = grid.hop // 2
    wave = wave[:, start : start + cond.magnitude.shape[-1] * grid.hop]
    spectrum = unit(analyse(grid, wave)[..., 1:-1])
    band = network.spectrum.band
    return network.waveform(cond, spectrum[:, :band], spectrum[:, band:])


def show(result: dict[str, Any]) -> None:
    """Print the means."""
    rows = []
    for row in result["rows"]:
        limits = "–" if (i := row["interval"]) is None else f"{i[0]:.2f} … {i[1]:.2f}"
        rows.append([row["model"], row["variant"], row["pesq_wb"], limits])
    print_table("The estimate with parts replaced", ("model", "variant", "PESQ-WB", "95 %"), rows)
