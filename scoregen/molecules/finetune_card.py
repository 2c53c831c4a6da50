"""The model card of a fine-tuned model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scoregen.training.finetune import figures_table, training_line

if TYPE_CHECKING:
    from .finetune import Finetuned

_ROWS = (
    ("denoising_error", "denoising error (whitened; 1 = no knowledge)"),
    ("amr_r", "AMR-R, Å"),
    ("amr_p", "AMR-P, Å"),
    ("cov_r_0.5", "COV-R 0.5 Å"),
    ("cov_r_0.75", "COV-R 0.75 Å"),
    ("failures", "molecules without a conformer"),
)


def figures(done: Finetuned) -> str:
    """The figures before and after, as a Markdown table."""
    return figures_table(_ROWS, done)


def model_card(name: str, done: Finetuned) -> str:
    """README of a fine-tuned model: where it comes from, what it learnt from, what that changed."""
    settings = done.settings
    skipped = "".join(f"\n- skipped: {count} records, {reason}" for reason, count in done.skipped.items())
    verdict = "The error on molecules that were not trained on fell."
    if not done.improved:
        verdict = f"**The error on molecules not trained on did not fall: `{settings['model']}` is better.**"
    generated = int(done.before.get("molecules", 0))
    scored = f" Conformers were generated for {generated} of its molecules." if generated else ""
    return f"""# {name}

`{settings["model"]}` fine-tuned for conformers on one's own structures.

`scoregen conformers SMILES --model FOLDER -o out.sdf`

## Data

- files: {", ".join(done.sources)}
- trained on: {done.records["train"]} conformers of {done.molecules["train"]} molecules
- development part: {done.records["dev"]} conformers of {done.molecules["dev"]} other molecules
- left out: {done.records["benchmark"]} conformers of {done.molecules["benchmark"]} molecules{skipped}
- level of theory stated: {settings["theory"]}

## Training

{training_line(done, settings["learning_rate"])}

## Before and after

{verdict} The same noise and seeds before and after.{scored}
The weights are those with the least error on this part out of ten or more tries, so the figures after are a
little too good; for untouched ones keep molecules out with --holdout and use `scoregen evaluate conformers`.

{figures(done)}
"""
