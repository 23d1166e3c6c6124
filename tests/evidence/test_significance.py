import numpy as np
import pytest
from scipy.stats import dunnett, norm

from kidasr.evidence.significance import holm, mapsswe, step_down


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


def test_step_down_is_holms_where_nothing_is_correlated_and_milder_where_something_is() -> None:
    p_values = np.array([0.011, 0.03, 0.2])
    independent = step_down(p_values, np.eye(3), 1e6)
    assert independent == pytest.approx([1 - (1 - 0.011) ** 3, 1 - (1 - 0.03) ** 2, 0.2], abs=0.004)
    same = step_down(p_values, np.ones((3, 3)), 20)
    assert same == pytest.approx([0.011, 0.03, 0.2], abs=0.004), "one comparison, three times"
    assert (step_down(p_values, np.eye(3), 5) <= holm(p_values)).all()
    assert step_down(np.array([0.04]), np.eye(1), 5).tolist() == [0.04]


def test_the_first_step_is_dunnetts_test() -> None:
    """Four groups of six against a fifth: the smallest corrected p-value, with the same t values and degrees of freedom."""
    groups = np.random.default_rng(3).normal([0, 0.4, 0.8, 1.2, 1.7], 1, (6, 5))
    expected = dunnett(*groups[:, 1:].T, control=groups[:, 0], rng=np.random.default_rng(1))
    spread = np.sqrt(groups.var(axis=0, ddof=1).mean() * 2 / 6)
    t_values = (groups[:, 1:].mean(axis=0) - groups[:, 0].mean()) / spread
    assert t_values == pytest.approx(expected.statistic)
    from scipy.stats import t

    correlation = np.full((4, 4), 0.5) + 0.5 * np.eye(4)
    found = step_down(2 * t.sf(np.abs(t_values), 25), correlation, 25)
    assert found.min() == pytest.approx(expected.pvalue.min(), abs=0.003)


def test_the_share_of_false_claims_is_kept_for_any_number_of_comparisons() -> None:
    rng, correlation = np.random.default_rng(4), np.full((12, 12), 0.5) + 0.5 * np.eye(12)
    factor = np.linalg.cholesky(correlation)
    claimed = [
        step_down(2 * norm.sf(np.abs(factor @ rng.standard_normal(12))), correlation, 1e6, draws=2000).min() < 0.05
        for _ in range(800)
    ]
    assert 0.03 < np.mean(claimed) < 0.075
