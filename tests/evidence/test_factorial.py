"""Effects of a factorial, computed from WERs with known effects."""

from itertools import combinations

import numpy as np
import pytest

from kidasr.evidence.factorial import factorial

FIVE = ("h1", "h2", "h3", "h4", "h5")
FULL = {"+".join(one): frozenset(one) for size in range(6) for one in combinations(FIVE, size)}
HALF = {name: on for name, on in FULL.items() if len(on) % 2 == 0}


@pytest.mark.parametrize("design", [FULL, HALF])
def test_known_effects_are_found(design: dict[str, frozenset[str]]) -> None:
    """WER 30; h1 changes it by -2, h4 by +1, and both together by another 3."""
    wer = np.array([30 - 2 * ("h1" in on) + 1 * ("h4" in on) + 3 * ({"h1", "h4"} <= on) for on in design.values()])
    design_of = factorial(design)
    assert design_of and not design_of.is_screening and design_of.factors == 5 and design_of.effects[:5] == list(FIVE)
    assert design_of.model.shape == (len(design), 16)
    found = dict(zip(design_of.effects, design_of.weights @ wer, strict=True))
    assert len(found) == 15
    # h1 changes -2 with h4 off and +1 with h4 on, h4 +1 and +4: these are the means. Half of the differences is 1.5.
    assert found.pop("h1") == pytest.approx(-0.5)
    assert found.pop("h4") == pytest.approx(2.5)
    assert found.pop("h1 x h4") == pytest.approx(1.5)
    assert all(abs(value) < 1e-9 for value in found.values())


def test_a_screening_design_has_main_effects_alone() -> None:
    """c is on where exactly one of a and b is: each main effect is mixed with the interaction of the other two."""
    found = factorial({name or "none": frozenset(name) for name in ("", "ac", "bc", "ab")})
    assert found and found.is_screening and found.effects == ["a", "b", "c"] and found.model.shape == (4, 4)


def test_what_is_no_factorial_has_no_effects() -> None:
    one_at_a_time = {"baseline": frozenset[str](), **{name: frozenset([name]) for name in FIVE}}
    missing_one = dict(list(FULL.items())[:-1])
    assert factorial(one_at_a_time) is factorial(missing_one) is factorial({}) is None
