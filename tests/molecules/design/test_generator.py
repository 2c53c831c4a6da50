"""The hunt for candidates: what is counted, what is kept, what never comes out."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.design.encode import decode, encode
from scoregen.molecules.design.filters import parse_filter
from scoregen.molecules.design.fragments import read_scaffold
from scoregen.molecules.design.generator import CandidateGenerator, Hunt
from scoregen.molecules.design.overlay import Overlay
from scoregen.molecules.design.request import Request
from scoregen.molecules.design.selection import Selection
from scoregen.molecules.design.tokens import TOKENS
from tests.molecules.design.helpers import small_config, small_generator, small_model


class Scripted(CandidateGenerator):
    """Draws given molecules one after the other, again and again."""

    def __init__(self, *smiles: str):
        super().__init__(small_model(), small_config(), "scripted", {"sizes": {5: 1}})
        self.smiles = smiles

    def draw(self, request, first, count, jury=None):
        texts = [self.smiles[i % len(self.smiles)] for i in range(first, first + count)]
        mols = [Chem.MolFromSmiles(text, sanitize=False) for text in texts]
        for mol in mols:
            mol.UpdatePropertyCache(strict=False)
        if all(Chem.MolFromSmiles(text) for text in texts):
            return [decode(encode(standardise(text))) for text in texts]
        return [_raw(text) for text in texts]


def _raw(text: str) -> Chem.Mol:
    mol = Chem.MolFromSmiles(text)
    return decode(encode(standardise(text))) if mol else Chem.MolFromSmiles(text, sanitize=False)


def test_everything_drawn_is_counted_once():
    generator = Scripted("CCO", "CC(C)(C)(C)C", "CCO", "c1ccccc1", "CCCCCCCC", "CCN")
    request = Request(n=3, filters=(parse_filter("heavy_atoms=6"),))
    found, tally = generator.graphs(request)
    assert [c.smiles for c in found] == ["CCO", "c1ccccc1", "CCN"]
    assert [c.number for c in found] == [0, 3, 5]
    assert tally.drawn == 6
    assert tally.invalid == {"valence": 1}
    assert tally.duplicates == 1
    assert tally.filtered == {"heavy_atoms": 1}
    assert tally.kept == 3
    assert tally.drawn == tally.kept + tally.duplicates + tally.invalid.total() + tally.filtered.total()
    assert tally.validity == pytest.approx(5 / 6)


def test_it_gives_up_after_the_tries():
    found, tally = Scripted("CC(C)(C)(C)C").graphs(Request(n=2, tries=5))
    assert found == []
    assert tally.drawn == 10
    assert tally.validity == 0


def test_duplicates_may_be_kept_and_portions_go_on():
    generator = Scripted("CCO", "CCN", "CCC")
    assert len(generator.graphs(Request(n=4, duplicates=True))[0]) == 4
    hunt = Hunt(generator, Request(n=3))
    names = [c.smiles for c in hunt.take(1)] + [c.smiles for c in hunt.take(2)]
    assert names == ["CCO", "CCN", "CCC"]
    assert hunt.tally.kept == 3


def test_the_molecule_itself_is_no_variation():
    found, tally = Scripted("CCO", "CCN").graphs(Request(n=1, similar=standardise("OCC")))
    assert [c.smiles for c in found] == ["CCN"]
    assert tally.duplicates == 1


def test_numbers_tell_candidates_whatever_the_portion():
    generator, request = small_generator(), Request(n=4, seed=5, steps=3)
    whole = generator.draw(request, 0, 6)
    later = generator.draw(request, 4, 2)
    for one, other in zip(whole[4:], later, strict=True):
        assert Chem.MolToMolBlock(one) == Chem.MolToMolBlock(other)


@pytest.mark.parametrize("smiles", ["*c1ccncc1", "CC(=O)N*", "C1CC1"])
def test_even_an_untrained_model_keeps_the_scaffold(smiles):
    scaffold = read_scaffold(smiles)
    request = Request(n=1, steps=3, scaffold=scaffold, atoms=(scaffold.size + 1, scaffold.size + 3))
    wanted = encode(scaffold.mol, positions=False)
    for mol in small_generator().draw(request, 0, 5):
        assert mol.GetNumAtoms() > scaffold.size
        for i, index in enumerate(wanted["token"]):
            atom = mol.GetAtomWithIdx(i)
            assert (atom.GetSymbol(), atom.GetFormalCharge()) == TOKENS[index][:2]
            if i not in scaffold.open:
                assert all(n.GetIdx() < scaffold.size for n in atom.GetNeighbors())
        bonds = {
            (b.GetBeginAtomIdx(), b.GetEndAtomIdx()): int(b.GetBondTypeAsDouble())
            for b in mol.GetBonds()
            if max(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) < scaffold.size
        }
        expected = dict(
            zip(map(tuple, np.sort(wanted["bond"]).tolist()), wanted["order"].tolist(), strict=True)
        )
        assert bonds == expected


def test_wishes_that_cannot_be():
    with pytest.raises(InputError, match="at most 8"):
        small_generator().graphs(Request(scaffold=read_scaffold("*c1ccc2ccccc2c1")))
    with pytest.raises(InputError, match="--similar varies a whole molecule"):
        Request(similar=standardise("CCO"), atoms=(3, 4))
    with pytest.raises(InputError, match="-n must be at least 1"):
        Request(n=0)
    with pytest.raises(InputError, match=r"bridge must be at least 0\.35, got 0\.1"):
        Request(bridge=0.1)
    with pytest.raises(InputError, match=r"info\.sizes"):
        CandidateGenerator(small_model(), small_config(), "x", {})


def test_bridges_are_the_models_own_or_asked_for_and_never_where_draws_compete():
    plain, bridged = small_generator(), small_generator()
    bridged.config = bridged.config.model_copy(update={"bridge": 0.5})

    def drawn(generator, **wish):
        mols = generator.draw(Request(steps=6, **wish), 0, 16)
        return [Chem.MolToSmiles(mol) for mol in mols]

    assert drawn(bridged) == drawn(plain, bridge=0.5) != drawn(plain)
    assert drawn(bridged, bridge=np.inf) == drawn(plain)
    assert drawn(bridged, score=size_of) == drawn(plain, score=size_of)


def test_the_number_of_calls_is_the_models_own_or_asked_for():
    plain, longer = small_generator(), small_generator()
    longer.config = longer.config.model_copy(update={"steps": 6})

    def drawn(generator, **wish):
        return [Chem.MolToSmiles(mol) for mol in generator.draw(Request(**wish), 0, 8)]

    assert drawn(longer) == drawn(plain, steps=6) != drawn(plain)
    assert drawn(plain) == drawn(plain, steps=40) == drawn(longer, steps=40)


def size_of(mol):
    return mol.GetNumAtoms()


@pytest.mark.parametrize("smiles", ["C[C@H](O)c1ccccc1*", "C[C@@H](O)c1ccccc1*", "C/C=C/C*"])
def test_stated_stereo_of_a_scaffold_is_given_to_candidates(smiles):
    scaffold = read_scaffold(smiles)
    drawn = Chem.MolToSmiles(Chem.MolFromSmiles(smiles.replace("*", "C(F)Cl")), isomericSmiles=False)
    found, tally = Scripted(drawn).graphs(Request(n=1, scaffold=scaffold, tries=1))
    assert tally.lost == 0
    assert scaffold.contained(found[0].mol) is not None
    other = read_scaffold(smiles.replace("@@", "@") if "@@" in smiles else smiles.replace("@", "@@"))
    if "@" in smiles:
        assert other.contained(found[0].mol) is None
    # The new centre stays open.
    assert Chem.FindMolChiralCenters(found[0].mol, includeUnassigned=True)[-1][1] == "?"


@pytest.mark.parametrize(
    "smiles",
    [
        "C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O*",
        "C[C@H](CCC(=O)N*)[C@H]1CC[C@@H]2[C@@]1([C@H](C[C@H]3[C@H]2[C@@H](C[C@H]4[C@@]3(CC[C@H](C4)O)C)O)O)C",
        "O=C(N*)[C@H]1CC[C@@H](C(F)(F)F)CC1",
    ],
)
@pytest.mark.parametrize("grown", ["CC", "C(F)Cl"])
def test_many_stated_centres_are_kept_all(smiles, grown):
    scaffold = read_scaffold(smiles)
    drawn = Chem.MolToSmiles(Chem.MolFromSmiles(smiles.replace("*", grown)), isomericSmiles=False)
    found, tally = Scripted(drawn).graphs(Request(n=1, scaffold=scaffold, tries=1))
    assert tally.lost == 0
    meant = Chem.MolFromSmiles(smiles.replace("*", grown))
    assert Chem.MolToSmiles(found[0].mol) == Chem.MolToSmiles(meant)


@pytest.mark.parametrize("shown", ["C[C@H](O)c1ccccc1CC", "C[C@@H](O)c1ccccc1CC"])
def test_coordinates_that_show_another_stereo_are_left_out_and_the_graph_is_kept(shown):
    scaffold = read_scaffold("C[C@H](O)c1ccccc1*")
    posed = Chem.AddHs(Chem.MolFromSmiles(shown))
    AllChem.EmbedMolecule(posed, randomSeed=1)
    posed = Chem.RemoveHs(posed)
    Chem.RemoveStereochemistry(posed)
    found = scaffold.isomer(posed)
    assert found.GetNumConformers() == ("@@" not in shown)
    assert Chem.MolToSmiles(found) == Chem.CanonSmiles("C[C@H](O)c1ccccc1CC")


def test_of_draws_that_competed_the_best_comes_first():
    generator = Scripted("CCO", "c1ccccc1O", "CCCCCC", "CC(N)=O")
    request = Request(n=2, score=lambda mol: mol.GetNumAtoms(), selection=Selection(particles=4))
    found, tally = generator.graphs(request)
    assert [candidate.smiles for candidate in found] == ["Oc1ccccc1", "CCCCCC"]
    assert [candidate.number for candidate in found] == [1, 2]
    assert (tally.drawn, tally.kept) == (4, 4)


def test_references_of_other_sizes_are_refused():
    generator = small_generator(coordinates=True)
    with pytest.raises(InputError, match=r"--similar: 13 heavy atoms; model 'small' makes 3 to 8"):
        generator.graphs(Request(similar=standardise("CC(=O)Oc1ccccc1C(=O)O")))
    long = Chem.AddHs(Chem.MolFromSmiles("CCCCCCCCCO"))
    AllChem.EmbedMolecule(long, randomSeed=1)
    with pytest.raises(InputError, match="--shape: 10 heavy atoms"):
        generator.graphs(Request(shape=Overlay(Chem.RemoveAllHs(long))))


def test_a_candidate_without_the_scaffold_is_lost():
    found, tally = Scripted("CCCO").graphs(Request(n=1, scaffold=read_scaffold("*c1ccncc1"), tries=3))
    assert found == []
    assert tally.lost == 3
