"""The designs: which factors are on in each configuration, and what can be computed from it."""

from itertools import combinations, product

import numpy as np
import pytest

from kidasr.cli.designs import DESIGNS, configurations
from kidasr.config import ConfigError

#: The rows of a screening design with each number of factors.
SCREENING = {5: 12, 6: 12, 7: 12, 8: 12} | {9: 20, 16: 20, 17: 24, 20: 24, 21: 32, 28: 32, 29: 44, 40: 44}
SCREENING |= {41: 48, 44: 48, 45: 60, 56: 60}


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("one_at_a_time", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]),
        ("leave_one_out", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0)]),
        ("factorial", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]),
    ],
)
def test_the_configurations_of_three_factors(design: str, expected: list[tuple[int, ...]]) -> None:
    assert configurations(design, [2, 2, 2]) == expected


def test_each_level_of_a_factor_is_tried_by_itself() -> None:
    assert configurations("one_at_a_time", [2, 4]) == [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3)]


def test_half_of_the_combinations_are_those_of_an_even_number() -> None:
    found = configurations("half_factorial", [2] * 6)
    assert sorted(found) == sorted(row for row in product((0, 1), repeat=6) if sum(row) % 2 == 0)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("factors", [5, 8])
def test_no_configuration_comes_twice_and_the_one_to_compare_with_is_first(design: str, factors: int) -> None:
    found = configurations(design, [2] * factors)
    assert len(set(found)) == len(found)
    assert found[0] == (int(design == "leave_one_out"),) * factors


@pytest.mark.parametrize(("factors", "rows"), SCREENING.items())
def test_a_screening_design_is_orthogonal_and_balanced_and_has_three_free_columns(factors: int, rows: int) -> None:
    found = configurations("screening", [2] * factors)
    assert len(found) == len(set(found)) == rows >= factors + 1 + 3
    signs = 2 * np.array(found) - 1
    assert not signs.sum(axis=0).any(), "each factor is on in half of the rows"
    assert (signs.T @ signs == rows * np.eye(factors)).all()


@pytest.mark.parametrize(
    ("design", "factors"), [("screening", 7), ("screening", 20), ("half_factorial", 5), ("factorial", 4)]
)
def test_known_main_effects_are_recovered(design: str, factors: int) -> None:
    effects = np.random.default_rng(0).normal(size=factors)
    on = np.array(configurations(design, [2] * factors))
    wer = 30 + on @ effects
    found = [wer[on[:, place] == 1].mean() - wer[on[:, place] == 0].mean() for place in range(factors)]
    assert found == pytest.approx(effects)


def test_a_pair_biases_the_main_effects_of_a_screening_design_and_not_those_of_a_half_factorial() -> None:
    """Which is why the config warns of it: a third of the interaction, on each of the other factors."""
    for design, factors, bias in (("screening", 8, 1 / 3), ("half_factorial", 5, 0)):
        signs = 2 * np.array(configurations(design, [2] * factors)) - 1
        for one, other in combinations(range(factors), 2):
            pair = signs[:, one] * signs[:, other]
            rest = [place for place in range(factors) if place not in (one, other)]
            assert np.abs(signs[:, rest].T @ pair / len(signs)) == pytest.approx(np.full(len(rest), bias))


@pytest.mark.parametrize(
    ("design", "factors", "line"),
    [
        (
            "half_factorial",
            4,
            "ablation=half_factorial: with 4 factors it confounds main effects or pairs with each other; expected: "
            "ablation=factorial (16 configurations), or 5 factors or more",
        ),
        ("screening", 4, "ablation=screening: with 4 factors it repeats a configuration; expected: ablation=factorial (16 "),
        ("screening", 57, "ablation=screening: 57 factors; expected: at most 56"),
        (
            "quarter",
            5,
            "hydra.sweeper.design=quarter: no such design; expected: one_at_a_time, leave_one_out, factorial, half_",
        ),
    ],
)
def test_a_design_that_there_is_not_is_refused(design: str, factors: int, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configurations(design, [2] * factors)
    assert str(caught.value).startswith(line)
