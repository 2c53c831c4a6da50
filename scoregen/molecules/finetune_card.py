"""The model card of a fine-tuned model."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def figures_table(done: Finetuned) -> str:
    """The figures before and after, as a Markdown table."""
    lines = ["| on the development part | before | after |", "|---|---|---|"]
    for key, name in _ROWS:
        before, after = done.before.get(key), done.after.get(key)
        if before is not None and after is not None:
            lines.append(f"| {name} | {_number(before)} | {_number(after)} |")
    return "\n".join(lines)


def model_card(name: str, done: Finetuned) -> str:
    """README of a fine-tuned model: where it comes from, what it learnt from, what that changed."""
    settings = done.settings
    skipped = "".join(f"\n- skipped: {count} records, {reason}" for reason, count in done.skipped.items())
    verdict = "The error on molecules that were not trained on fell."
    if not done.improved:
        verdict = f"**The error on molecules not trained on did not fall: `{settings['model']}` is better.**"
    generated = int(done.before.get("molecules", 0))
    scored = f" Conformers were generated for {generated} of its molecules." if generated else ""
    stopped = "" if done.finished else f" of {settings['steps']} planned; the time ran out"
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

{done.steps} steps{stopped}, learning rate {settings["learning_rate"]:g}, seed {settings["seed"]}.

## Before and after

{verdict} The same noise and seeds before and after.{scored}
The weights are those with the least error on this part out of ten or more tries, so the figures after are a
little too good; for untouched ones keep molecules out with --holdout and use `scoregen evaluate conformers`.

{figures_table(done)}
"""


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and value != 0 else f"{value:.3f}"
