"""The model card of a fine-tuned vocoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scoregen.training.finetune import figures_table, training_line

if TYPE_CHECKING:
    from .finetune import FinetunedVocoder

_ROWS = (
    ("denoising_loss", "denoising loss"),
    ("mr_stft", "MR-STFT distance"),
    ("pesq_wb", "PESQ-WB (best: 4.64)"),
)


def figures(done: FinetunedVocoder) -> str:
    """The figures before and after, as a Markdown table."""
    return figures_table(_ROWS, done)


def model_card(name: str, done: FinetunedVocoder) -> str:
    """README of a fine-tuned vocoder: where it comes from, what it learnt from, what that changed."""
    settings = done.settings
    given = "their own mels" if done.mels is None else f"mels of a TTS: {done.mels}"
    verdict = "The loss on recordings that were not trained on fell."
    if not done.improved:
        verdict = f"**The loss on recordings not trained on did not fall: `{settings['model']}` is better.**"
    again = int(done.before.get("clips", 0))
    made = f" {again} of its recordings were made again from their mels." if again else ""
    return f"""# {name}

`{settings["model"]}` fine-tuned on one's own recordings.

`scoregen vocode MELS_OR_SOUND --model FOLDER -o out`

## Licence

Not stated yet: write here under what terms the recordings, and so this model, may be used. The terms of
`{settings["model"]}` hold too.

## Data

- recordings: {", ".join(done.sources)}
- the vocoder was given {given}
- trained on: {done.clips["train"]} recordings, {done.minutes["train"]:.1f} minutes
- development part: {done.clips["dev"]} other recordings, {done.minutes["dev"]:.1f} minutes
- left out: {len(done.failures)} files that could not be used

## Training

{training_line(done, done.learning_rate)}

## Before and after

{verdict} The same crops, noise and seeds before and after.{made}
The weights are those with the least loss on this part out of ten or more tries, so the figures after are a
little too good; for untouched ones keep recordings of your own out and use `scoregen evaluate audio`.

{figures(done)}
"""
