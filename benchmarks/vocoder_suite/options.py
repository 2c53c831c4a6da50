"""What a section is asked: its defaults, then flags of the command line, then ``--set``."""

from __future__ import annotations

from dataclasses import dataclass

from scoregen.errors import InputError


@dataclass(frozen=True)
class Options:
    """Settings of one section; a section ignores those that mean nothing to it.

    Args:
        clips: of each speaker, the first by name; 0 for all.
        seconds: longer clips are cut; also the length of sound that is timed.
        seed: of every random choice.
        steps: numbers of network calls.
        iterations: of Griffin-Lim.
        threads: of section ``speed``, each number in its own process.
        repeats: of each timing; the fastest counts.
        minutes: lengths whose memory is measured; an hour is added by ``--hour``.
        chunks: frames of the pieces of section ``streaming``.
        lengths: random lengths tried there.
        damages: of section ``restore``.
    """

    clips: int = 12
    seconds: float = 8.0
    seed: int = 0
    steps: tuple[int, ...] = (1, 2, 4, 6, 12, 50)
    iterations: int = 60
    threads: tuple[int, ...] = (1, 2)
    repeats: int = 3
    minutes: tuple[float, ...] = (1 / 6, 10.0)
    chunks: tuple[int, ...] = (10, 37, 100)
    lengths: int = 1000
    damages: tuple[str, ...] = ("50 ms gaps", "4 kHz limit", "10 dB noise")

    def __post_init__(self) -> None:
        if self.clips < 0 or self.seconds <= 0 or self.repeats < 1:
            raise InputError("clips must be at least 0, seconds above 0 and repeats at least 1")
        if any(k < 1 for k in (*self.steps, *self.chunks, *self.threads)):
            raise InputError("steps, chunks and threads must be at least 1")
