"""Energies and relaxation: MMFF94s through RDKit, GFN-FF and GFN2-xTB through the xtb program.

Where there is no xtb program, GFN2-xTB runs in the tblite package with L-BFGS in Cartesian coordinates: the
same minima, but two (20 atoms) to six (50 atoms) times slower than the program's approximate normal
coordinates. Formal charges are passed on; radicals are refused before molecules get here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit.Chem import Mol, rdForceFieldHelpers, rdmolfiles, rdmolops

from scoregen.errors import InputError

from .stereo import with_positions

if TYPE_CHECKING:
    from tblite.interface import Calculator

HARTREE = 627.5094740631
BOHR = 0.529177210903
METHODS = ("none", "mmff", "gfn2")
"""What conformers may be relaxed with."""
LEVELS = ("mmff", "gfnff", "gfn2")
"""Everything that relaxes: MMFF94s, GFN-FF (Spicher & Grimme 2020), GFN2-xTB (Bannwarth et al. 2019)."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# Largest component of the gradient (Hartree/Bohr) at which L-BFGS stops: what xtb's "normal" comes to.
_GRADIENT = 3e-4


def relax(
    mol: Mol, positions: np.ndarray, method: str, timeout: float | None = None
) -> tuple[np.ndarray, float]:
    """Relax a geometry to the nearest minimum, on one core.

    Args:
        mol: with explicit hydrogens.
        positions: ``(N, 3)`` Å.
        method: one of :data:`LEVELS`, all in the gas phase. ``"gfnff"`` needs the ``xtb`` program, ``"gfn2"``
            the program or the tblite package. ``"none"`` changes nothing and has no energy.
        timeout: seconds for the GFN methods; None waits. MMFF94s stops after 2,000 steps.

    Returns:
        Relaxed positions ``(N, 3)`` Å and the energy in kcal/mol (NaN for ``"none"``).

    Raises:
        InputError: no parameters for the molecule, no program, too slow, or the optimisation failed.
    """
    if method == "none":
        return np.array(positions, np.float64), float("nan")
    if method == "mmff":
        return _mmff(mol, positions, steps=2000)
    if method in LEVELS:
        return _engine(method).relax(mol, positions, timeout)
    raise InputError(f"relaxation '{method}' is not one of {', '.join(('none', *LEVELS))}")


def energy(mol: Mol, positions: np.ndarray, method: str, timeout: float | None = None) -> float:
    """Energy of a geometry as it is, in kcal/mol, comparable with that of :func:`relax`.

    Args:
        mol: with explicit hydrogens.
        positions: ``(N, 3)`` Å.
        method: one of :data:`LEVELS`.
        timeout: seconds for the GFN methods in the ``xtb`` program; None waits.

    Raises:
        InputError: as for :func:`relax`.
    """
    if method == "mmff":
        return mmff_energy(mol, positions)
    if method in LEVELS:
        return _engine(method).energy(mol, positions, timeout)
    raise InputError(f"energy method '{method}' is not one of {', '.join(LEVELS)}")


def check_available(method: str) -> None:
    """Raise :class:`InputError`, naming what to install, where ``method`` cannot run on this machine."""
    if method in LEVELS and method != "mmff":
        _engine(method)


def mmff_energy(mol: Mol, positions: np.ndarray) -> float:
    """MMFF94s energy of a geometry in kcal/mol.

    Raises:
        InputError: MMFF94s has no parameters for the molecule.
    """
    return _mmff(mol, positions, steps=0)[1]


def _mmff(mol: Mol, positions: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    placed = with_positions(mol, positions)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(placed, mmffVariant="MMFF94s")
    if properties is None:
        raise InputError("MMFF94s has no parameters for this molecule; use gfn2 or none")
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(placed, properties)
    if steps:
        field.Initialize()
        field.Minimize(maxIts=steps)
    return placed.GetConformer().GetPositions(), float(field.CalcEnergy())


class _Engine(NamedTuple):
    """What runs a GFN method: relaxed positions and their energy; energy alone."""

    relax: Callable[[Mol, np.ndarray, float | None], tuple[np.ndarray, float]]
    energy: Callable[[Mol, np.ndarray, float | None], float]


def _engine(method: str) -> _Engine:
    """The xtb program if it is there, else tblite where that can."""
    program = shutil.which("xtb")
    if program is not None:
        flags = ["--gfnff"] if method == "gfnff" else ["--gfn", "2"]
        return _Engine(
            lambda mol, positions, timeout: _xtb([program, *flags], mol, positions, timeout),
            lambda mol, positions, timeout: _xtb_energy([program, *flags], mol, positions, timeout),
        )
    if method == "gfn2":
        try:
            import tblite.interface  # noqa: F401
        except ImportError:
            pass
        else:
            return _Engine(_tblite, _tblite_energy)
    package = " or the tblite package: pip install 'scoregen[chem]'" if method == "gfn2" else ""
    raise InputError(f"{method} needs the xtb program: apt-get install xtb (or conda install xtb){package}")


def _run_xtb(
    folder: str, command: Sequence[str], mol: Mol, positions: np.ndarray, timeout: float | None, what: str
) -> str | None:
    """What xtb prints; None where it failed."""
    rdmolfiles.MolToXYZFile(with_positions(mol, positions), f"{folder}/in.xyz")
    charge = str(rdmolops.GetFormalCharge(mol))
    try:
        done = subprocess.run(
            [command[0], "in.xyz", *command[1:], "--chrg", charge, "--parallel", "1", "--norestart"],
            cwd=folder,
            env={**os.environ, **_ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{what} with xtb took more than {timeout:.0f} s") from None
    return None if done.returncode else done.stdout


def _xtb(
    command: list[str], mol: Mol, positions: np.ndarray, timeout: float | None
) -> tuple[np.ndarray, float]:
    with tempfile.TemporaryDirectory(prefix="scoregen-xtb-") as folder:
        command = [*command, "--opt", "normal"]
        printed = _run_xtb(folder, command, mol, positions, timeout, "optimisation")
        result = Path(folder, "xtbopt.xyz")
        if printed is None or not result.exists():
            raise InputError("optimisation with xtb failed; use mmff or none")
        lines = result.read_text().splitlines()
    relaxed = np.array([[float(v) for v in line.split()[1:4]] for line in lines[2:] if line.strip()])
    return relaxed, float(lines[1].split()[1]) * HARTREE


def _xtb_energy(command: list[str], mol: Mol, positions: np.ndarray, timeout: float | None) -> float:
    with tempfile.TemporaryDirectory(prefix="scoregen-xtb-") as folder:
        printed = _run_xtb(folder, command, mol, positions, timeout, "the energy")
    found = [line for line in (printed or "").splitlines() if "TOTAL ENERGY" in line]
    if not found:
        raise InputError("the energy with xtb failed; use mmff")
    return float(found[-1].split()[3]) * HARTREE


def _tblite_energy(mol: Mol, positions: np.ndarray, timeout: float | None) -> float:
    try:
        return float(_calculator(mol, positions).singlepoint()["energy"]) * HARTREE
    except RuntimeError:  # the self-consistent cycle did not converge
        raise InputError("the energy with tblite failed; use mmff") from None


def _calculator(mol: Mol, positions: np.ndarray) -> Calculator:
    from tblite.interface import Calculator

    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    start = np.asarray(positions, np.float64) / BOHR
    calculator = Calculator("GFN2-xTB", numbers, start, charge=float(rdmolops.GetFormalCharge(mol)))
    calculator.set("verbosity", 0)
    return calculator


def _tblite(mol: Mol, positions: np.ndarray, timeout: float | None) -> tuple[np.ndarray, float]:
    from scipy.optimize import minimize

    start = np.asarray(positions, np.float64) / BOHR
    calculator = _calculator(mol, positions)
    deadline = None if timeout is None else time.monotonic() + timeout
    last = None

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last
        if deadline is not None and time.monotonic() > deadline:
            raise InputError(f"optimisation with tblite took more than {timeout:.0f} s")
        calculator.update(x.reshape(-1, 3))
        last = calculator.singlepoint(last)  # the last wave function starts the next
        return float(last["energy"]), last["gradient"].ravel()

    limits = {"gtol": _GRADIENT, "ftol": 0.0, "maxiter": 2000, "maxfun": 4000}
    try:
        done = minimize(energy, start.ravel(), jac=True, method="L-BFGS-B", options=limits)
    except RuntimeError:  # tblite: the self-consistent cycle did not converge
        raise InputError("optimisation with tblite failed; use mmff or none") from None
    # L-BFGS gives up on the noise of the energy before the gradient is that small: as good as converged.
    if np.abs(done.jac).max() > 10 * _GRADIENT:
        raise InputError("optimisation with tblite did not converge; use mmff or none")
    return done.x.reshape(-1, 3) * BOHR, float(done.fun) * HARTREE
