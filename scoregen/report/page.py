"""One self-contained HTML page: molecules in 3D, spectrograms and players, a table. No network needed.

Everything is inlined: 3Dmol.js (Rego & Koes 2015, BSD-3, shipped beside this module), styles, pictures
and sound.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

_LEGEND = (
    "<aside class='legend'><h3>Reading the views</h3><p>Drag turns a molecule, the wheel zooms.</p>"
    "<p><b>all</b> overlays the conformers: the colour of the carbons tells them apart. "
    "A <b>number</b> picks one; <b>H</b> shows hydrogens.</p>"
    "<p><i class='n'></i>nitrogen <i class='o'></i>oxygen</p></aside>"
)


@dataclass(frozen=True)
class MoleculeCard:
    """One molecule to show.

    Args:
        name: title.
        smiles: shown below it.
        facts: one line about it.
        drawing: SVG of its structure, or empty.
        blocks: molblocks of its conformers, already superposed.
        kept: atoms of the blocks to be coloured apart, from 0.
    """

    name: str
    smiles: str
    facts: str
    drawing: str
    blocks: Sequence[str]
    kept: Sequence[int] = ()


@dataclass(frozen=True)
class SoundCard:
    """One waveform to show.

    Args:
        name: title.
        facts: one line about it.
        wav: bytes of a WAV file.
        png: bytes of its picture.
        scores: measure → value, as they are to be read.
    """

    name: str
    facts: str
    wav: bytes
    png: bytes
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, and the HTML below it."""

    title: str
    lead: str
    body: str


def build_page(title: str, lead: str, sections: Sequence[Section], molecules: Sequence[MoleculeCard]) -> str:
    """The page.

    Args:
        title, lead: heading and the sentence below it.
        sections: from :func:`molecule_section`, :func:`sound_section`, :func:`table_section`.
        molecules: those of the molecule section, whose coordinates the page carries as data.

    Returns:
        HTML that refers to nothing outside itself.
    """
    # A "<" in a name could end the script early; JSON lets it be escaped.
    shown = [{"blocks": list(card.blocks), "kept": list(card.kept)} for card in molecules]
    data = json.dumps(shown).replace("<", "\\u003c")
    body = "\n".join(
        f"<section><h2>{html.escape(s.title)}</h2><p class='lead'>{html.escape(s.lead)}</p>{s.body}</section>"
        for s in sections
    )
    css, viewer, script = _asset("page.css"), _asset("3Dmol-min.js"), _asset("page.js")
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{html.escape(title)}</title>",
            f"<style>{css}</style></head><body><main>",
            f"<header><h1>{html.escape(title)}</h1><p>{html.escape(lead)}</p></header>",
            body,
            "<footer>Molecules drawn with 3Dmol.js (Rego &amp; Koes 2015, BSD-3-Clause). "
            "This page is complete in itself: it loads nothing.</footer></main>",
            f"<script type='application/json' id='molecules'>{data}</script>",
            f"<script>{viewer}</script>",
            f"<script>{script}</script>",
            "</body></html>",
        ]
    )


def molecule_section(title: str, lead: str, cards: Sequence[MoleculeCard]) -> Section:
    """Cards with a 3D view each; ``cards`` are the ``molecules`` of :func:`build_page`."""
    body = "".join(_molecule(i, card) for i, card in enumerate(cards))
    return Section(title, lead, f"<div class='grid'>{body}{_LEGEND}</div>")


def sound_section(title: str, lead: str, cards: Sequence[SoundCard]) -> Section:
    """Cards with a picture and a player each, side by side."""
    return Section(title, lead, "<div class='grid sounds'>" + "".join(map(_sound, cards)) + "</div>")


def table_section(title: str, lead: str, rows: Sequence[tuple[str, str]]) -> Section:
    """A table of two columns."""
    cells = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    return Section(title, lead, f"<div class='card scroll'><table>{cells}</table></div>")


def _molecule(index: int, card: MoleculeCard) -> str:
    chips = ["<button data-show='all' aria-pressed='true'>all</button>"]
    chips += [
        f"<button data-show='{k}' aria-pressed='false'>{k + 1}</button>" for k in range(len(card.blocks))
    ]
    hydrogens = (
        "<button class='corner' data-show='hydrogens' aria-pressed='false' title='show hydrogens'>H</button>"
    )
    drawing = f"<div class='drawing'>{card.drawing}</div>" if card.drawing else ""
    return (
        f"<article class='card' data-molecule='{index}'><div class='frame'>"
        f"<div class='stage'></div>{hydrogens}</div><div class='body'>"
        f"<div class='row'><div><h3>{html.escape(card.name)}</h3>"
        f"<p class='facts'>{html.escape(card.facts)}</p></div>{drawing}</div>"
        f"<code>{html.escape(card.smiles)}</code><div class='chips'>{''.join(chips)}</div></div></article>"
    )


def _sound(card: SoundCard) -> str:
    scores = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in card.scores.items()
    )
    picture, sound = _uri("image/png", card.png), _uri("audio/wav", card.wav)
    return (
        f"<article class='card'><img alt='mel spectrogram of {html.escape(card.name)}' "
        f"src='{picture}'><div class='body'><h3>{html.escape(card.name)}</h3>"
        f"<p class='facts'>{html.escape(card.facts)}</p><dl class='scores'>{scores}</dl>"
        f"<audio controls preload='metadata' src='{sound}'></audio></div></article>"
    )


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _asset(name: str) -> str:
    return (files("scoregen.report") / "assets" / name).read_text(encoding="utf-8")
