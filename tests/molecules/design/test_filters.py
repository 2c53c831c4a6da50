import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.design.descriptors import DESCRIPTORS, describe
from scoregen.molecules.design.filters import (
    FILTERS,
    PRESETS,
    RULES,
    alerts,
    brenk,
    first_reason,
    lipinski,
    pains,
    parse_filter,
    ring_sizes,
    strained,
    veber,
)
from tests.molecules.samples import all_records

SIROLIMUS = (
    "COC1CC(CCC1O)CC(C)C1CC(=O)C(C)C=C(C)C(O)C(OC)C(=O)C(C)CC(C)C=CC=CC=C(C)C(OC)CC2CCC(C)C(O)(O2)"
    "C(=O)C(=O)N2CCCCC2C(=O)O1"
)


def mol(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


@pytest.mark.parametrize(
    ("smiles", "alert"),
    [
        ("O=C1NC(=S)SC1=Cc1ccccc1", "ene_rhod_A(235)"),
        ("O=C1C=CC(=O)c2ccccc12", "quinone_A(370)"),
        ("Oc1ccccc1O", "catechol_A(92)"),
    ],
)
def test_known_interference_compounds_are_pains(smiles, alert):
    assert alert in alerts(mol(smiles), "PAINS")
    assert pains(mol(smiles)) == f"pains: {alert}"
    assert pains(Chem.AddHs(mol(smiles))) == f"pains: {alert}"


def test_drugs_are_no_pains_and_reactive_groups_are_brenk_alerts():
    for smiles in ("CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"):
        assert pains(mol(smiles)) is None
    assert brenk(mol("CCC(=O)Cl")) == "brenk: acid_halide"
    assert "peroxide" in alerts(mol("CCOOCC"), "BRENK")
    assert brenk(mol("O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O")) is None


def test_the_rule_of_five_forgives_one():
    atorvastatin = mol("CC(C)c1c(C(=O)Nc2ccccc2)c(-c2ccccc2)c(-c2ccc(F)cc2)n1CCC(O)CC(O)CC(=O)O")
    assert lipinski(mol("CCCCCCCCCCCCCCCC")) is None  # logP alone
    assert lipinski(atorvastatin) == "lipinski: mw 558.7 > 500, logp 6.314 > 5"
    assert lipinski(mol(SIROLIMUS)).startswith("lipinski: mw 914.2 > 500")
    # Acceptors of the rule are all N and O; RDKit's own count takes the six O of these amides.
    amides = mol("CCCCCCCCCCCCCCCCCC" + "C(=O)N(C)" * 6 + "CCCC")
    assert parse_filter("hba=6")(amides) is None
    assert lipinski(amides).endswith("N and O 12 > 10")
    assert veber(atorvastatin) == "veber: rotatable_bonds 12 > 10"
    assert veber(mol("CCO")) is None


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1C2C1C2", "fused small rings"),
        ("C12C3C4C1C5C2C3C45", "fused small rings"),
        ("C1=CC1", "double bond in a ring of three"),
        ("C1=NC1", "double bond in a ring of three"),
        ("C1#CC=CC=C1", "triple bond in a ring"),
        ("C1=C=CCCC1", "cumulated double bonds in a ring"),
        ("C1C2CCC1=CC2", "double bond at a bridgehead"),
    ],
)
def test_strained_rings_are_refused(smiles, reason):
    assert strained(mol(smiles)) == f"strained: {reason}"
    assert strained(Chem.AddHs(mol(smiles))) == f"strained: {reason}"


@pytest.mark.parametrize(
    "smiles",
    [
        "C1C2CC1C=C2",  # norbornene
        "C1C2CC3CC1CC(C2)C3",  # adamantane
        "CN1CCC23C4C1CC5=C2C(=C(C=C5)O)OC3C(C=C4)O",  # morphine
        "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O",  # penicillin G
        "c1ccc2c(c1)C1c3ccccc3C2c2ccccc21",  # triptycene
        "C1C2CC1(C2)C(=O)O",  # a bicyclo[1.1.1]pentane
        "O=C1C(=O)C(N)=C1N",  # a squaramide
        "C1CC12CC2",
        "c1ccc2[nH]ccc2c1",
        "C1CCCC#CCCC1",  # cyclononyne
    ],
)
def test_rings_of_real_drugs_pass(smiles):
    assert strained(mol(smiles)) is None


def test_large_rings_are_refused():
    assert ring_sizes(mol("C1CCCCCCC1")) is None
    assert ring_sizes(mol("C1CCCCCCCC1")) == "ring_sizes: ring of 9"
    assert ring_sizes(mol("CCO")) is None


@settings(deadline=None)  # the first SA score reads its table
@given(
    st.sampled_from(sorted(DESCRIPTORS)),
    st.floats(-5, 50).map(lambda v: round(v, 3)),
    st.floats(0, 50).map(lambda v: round(v, 3)),
    st.sampled_from(all_records()[::7]),
)
def test_a_range_keeps_what_lies_in_it(name, low, width, molecule):
    high = low + width
    value = describe(molecule, [name])[name]
    both = parse_filter(f"{name}={low}..{high}")
    assert both.name == f"{name}={low}..{high}"
    assert (both(molecule) is None) == (low <= value <= high)
    assert (parse_filter(f"{name}=..{high}")(molecule) is None) == (value <= high)
    assert (parse_filter(f" {name} = {low}.. ")(molecule) is None) == (low <= value)
    single = value == low if name == "charge" else value <= low
    single = low <= value if name in ("qed", "fsp3") else single
    assert (parse_filter(f"{name}={low}")(molecule) is None) == single


def test_presets_are_made_of_their_parts():
    molecules = all_records()[::3]
    for name, parts in PRESETS.items():
        preset, checks = parse_filter(name), [parse_filter(part) for part in parts]
        assert [preset(m) for m in molecules] == [first_reason(m, checks) for m in molecules]
    assert parse_filter("druglike")(mol("CC(=O)Oc1ccccc1C(=O)O")) is None
    assert parse_filter("druglike")(mol("O=C1NC(=S)SC1=Cc1ccccc1")) == "pains: ene_rhod_A(235)"
    assert parse_filter("fragment")(mol("c1ccc2[nH]ccc2c1")) is None
    assert parse_filter("leadlike")(mol("c1ccc2[nH]ccc2c1")) == "mw 117.2 < 250"


def test_every_filter_that_is_listed_can_be_named():
    for name in FILTERS:
        found = parse_filter(name.replace("VALUE", "..5"))
        assert found(mol("C")) is None or isinstance(found(mol("C")), str)
    assert set(RULES) < set(FILTERS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drugish", r"unknown filter 'drugish'; there are druglike, .*pains.*sa=VALUE"),
        ("", r"unknown filter ''"),
        ("sa", r"filter 'sa' needs a value: sa=NUMBER"),
        ("sa=", r"needs a number or a range"),
        ("sa=low", r"filter 'sa=low' needs a number or a range"),
        ("sa=nan", r"needs a number or a range"),
        ("sa=..", r"needs a number or a range"),
        ("mw=350..250", r"the range is empty"),
        ("pains=3", r"filter 'pains' takes no value; leave '=3' out"),
    ],
)
def test_bad_filters_are_one_clear_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_filter(text)
    assert "\n" not in str(caught.value)
