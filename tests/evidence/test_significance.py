import numpy as np
import pytest

from kidasr.evidence.significance import holm, mapsswe


def test_mapsswe_against_a_computation_by_hand() -> None:
    """400 segments with mean 0.1 and deviation 1: z is 2. 16 segments with mean 0.5: t is 2 with 15 degrees of freedom."""
    for segments, p_value in ((400, 0.0462), (16, 0.0639)):
        differences = np.tile([1, -1], segments // 2) * np.sqrt((segments - 1) / segments) + 2 / np.sqrt(segments)
        assert mapsswe(differences) == pytest.approx(p_value, abs=1e-4)
    assert mapsswe(-differences) == mapsswe(differences)


@pytest.mark.parametrize(("differences", "p_value"), [([0, 0, 0], 1), ([], 1), ([2], 1), ([1, 1, 1], 0)])
def test_mapsswe_where_there_is_no_spread(differences: list[float], p_value: float) -> None:
    assert mapsswe(differences) == p_value


def test_mapsswe_finds_one_in_twenty_where_utterances_are_independent_and_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    found = [mapsswe(rng.binomial(5, 0.3, 200) - rng.binomial(5, 0.3, 200)) < 0.05 for _ in range(1000)]
    assert 0.035 < np.mean(found) < 0.065


def test_holm_is_the_textbooks_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []
