"""Ablation designs: the level of each factor in each configuration. Level 0 is off."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from kidasr.config.checks import ConfigError

#: The level of each factor, by its position.
Levels = tuple[int, ...]

#: Primes that are 3 modulo 4; each gives a screening design with one row more.
_PALEY_PRIMES = (11, 19, 23, 31, 43, 47, 59)
#: Columns of a screening design that are left without a factor, to estimate the noise.
_FREE_COLUMNS = 3
#: With fewer factors, a half factorial confounds effects of at most two factors, and a screening design repeats a row.
_FEWEST = 5
#: A factorial of more has thousands of configurations.
_MOST_OF_A_FACTORIAL = 10


def one_at_a_time(levels: Sequence[int]) -> Iterator[Levels]:
    """All factors off, then each other level of each factor by itself."""
    off = (0,) * len(levels)
    yield off
    for place, number in enumerate(levels):
        for level in range(1, number):
            yield (*off[:place], level, *off[place + 1 :])


def leave_one_out(levels: Sequence[int]) -> Iterator[Levels]:
    """All factors on, then all but one."""
    on = (1,) * len(levels)
    yield on
    for place in range(len(levels)):
        yield (*on[:place], 0, *on[place + 1 :])


def factorial(levels: Sequence[int]) -> Iterator[Levels]:
    """Every combination, those with the fewest factors on first."""
    places = range(len(levels))
    for size in range(len(levels) + 1):
        for chosen in combinations(places, size):
            yield tuple(int(place in chosen) for place in places)


def half_factorial(levels: Sequence[int]) -> Iterator[Levels]:
    """Every combination with an even number of factors on."""
    yield from (row for row in factorial(levels) if sum(row) % 2 == 0)


def screening(levels: Sequence[int]) -> Iterator[Levels]:
    """Plackett and Burman's design by Paley's construction, the smallest that leaves three columns free.

    All factors off comes first, then the cyclic shifts of a row that is on at the quadratic residues.
    """
    prime = next(one for one in _PALEY_PRIMES if one - _FREE_COLUMNS >= len(levels))
    on = {number**2 % prime for number in range(prime)}
    places = range(len(levels))
    yield (0,) * len(levels)
    for row in range(prime):
        yield tuple(int((place - row) % prime in on) for place in places)


#: The designs of ablations, by name: the levels of each factor in each configuration, from the numbers of levels.
DESIGNS: dict[str, Callable[[Sequence[int]], Iterator[Levels]]] = {
    one.__name__: one for one in (one_at_a_time, leave_one_out, factorial, half_factorial, screening)
}


def configurations(design: str, levels: Sequence[int]) -> list[Levels]:
    """The configurations of a design.

    Args:
        design: Its name.
        levels: The number of levels of each factor.

    Raises:
        ConfigError: If there is no such design, or if it can't have so many or so few factors.
    """
    if design not in DESIGNS:
        raise ConfigError(f"hydra.sweeper.design={design}: no such design; expected: {', '.join(DESIGNS)}")
    if design in ("half_factorial", "screening") and len(levels) < _FEWEST:
        why = "confounds main effects or pairs with each other" if design == "half_factorial" else "repeats a configuration"
        raise ConfigError(
            f"ablation={design}: with {len(levels)} factors it {why}; expected: ablation=factorial "
            f"({2 ** len(levels)} configurations), or {_FEWEST} factors or more"
        )
    if "factorial" in design and len(levels) > _MOST_OF_A_FACTORIAL:
        raise ConfigError(
            f"ablation={design}: {len(levels)} factors have 2^{len(levels)} combinations; expected: at most "
            f"{_MOST_OF_A_FACTORIAL} factors, or ablation=screening"
        )
    most = _PALEY_PRIMES[-1] - _FREE_COLUMNS
    if design == "screening" and len(levels) > most:
        raise ConfigError(f"ablation=screening: {len(levels)} factors; expected: at most {most}")
    return list(DESIGNS[design](levels))
