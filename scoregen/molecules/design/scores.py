"""What a molecule is worth to somebody: scores to select by, and a person's own function as one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.errors import InputError

from .validity import problem

Score = Callable[[Mol], float]
"""More is better, NaN where nothing can be said. It is given a sanitised molecule with hydrogens as counts,
without stereo, with coordinates of its heavy atoms where the model draws them, and must not change it."""

PATIENCE = 10
"""Scores that may fail, all of them, before it is the function that is at fault."""

_MODULE = "scoregen_score"


class Jury:
    """Scores estimates by all criteria; a score that fails is not known.

    Args:
        scores: criteria.
        patience: molecules, the first ones, on all of which a score may fail.
    """

    def __init__(self, scores: Sequence[Score], patience: float = PATIENCE):
        self.scores, self.patience = tuple(scores), patience
        self._served = [False] * len(self.scores)
        self._failed = [0] * len(self.scores)

    def values(self, mols: Sequence[Mol]) -> np.ndarray:
        """Scores ``(C, K)`` of molecules as drawn; NaN for one that is not possible.

        Raises:
            InputError: a score fails on every molecule it is given.
        """
        found = np.full((len(self.scores), len(mols)), np.nan)
        for k, mol in enumerate(mols):
            if problem(mol) is None:
                Chem.SanitizeMol(mol)
                found[:, k] = [self._value(place, mol) for place in range(len(self.scores))]
        return found

    def _value(self, place: int, mol: Mol) -> float:
        try:
            with redirect_stdout(sys.stderr):  # what a person's function prints is no result
                value = float(self.scores[place](mol))
        except Exception as error:  # a user's function: whatever it raises is a molecule it cannot score
            self._failed[place] += 1
            if not self._served[place] and self._failed[place] >= self.patience:
                raise InputError(
                    f"the score failed on each of the first {self._failed[place]} molecules, last on "
                    f"{Chem.MolToSmiles(mol)}: {type(error).__name__}: {error}"
                ) from error
            return np.nan
        self._served[place] = True
        return value


def read_score(text: str) -> Score:
    """A function of a Python file, as ``my_scores.py:affinity``.

    The file is run; it may import its neighbours.

    Raises:
        InputError: no such file, it does not run, or has no such function.
    """
    file, colon, name = text.rpartition(":")
    shown = f"--score '{text}'"
    if not colon or not name:
        raise InputError(f"{shown}: write FILE.py:FUNCTION")
    path = Path(file)
    if not path.is_file() or path.suffix != ".py":
        raise InputError(f"{shown}: {file} is not a Python file")
    spec = importlib.util.spec_from_file_location(f"{_MODULE}.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        with redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file: whatever it raises, it does not run
        raise InputError(f"{shown}: running {file} failed: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"{shown}: {file} has no function '{name}'")
    score: Score = found
    return score
