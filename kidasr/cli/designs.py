"""Ablation designs: which hypotheses are on in each configuration."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

Configurations = Iterator[tuple[str, ...]]


def one_at_a_time(names: Sequence[str]) -> Configurations:
    """The baseline, then each hypothesis by itself."""
    yield ()
    for name in names:
        yield (name,)


def leave_one_out(names: Sequence[str]) -> Configurations:
    """All hypotheses, then all but one."""
    yield tuple(names)
    for name in names:
        yield tuple(other for other in names if other != name)


def factorial(names: Sequence[str]) -> Configurations:
    """Every combination, smallest first."""
    for size in range(len(names) + 1):
        yield from combinations(names, size)


def half_factorial(names: Sequence[str]) -> Configurations:
    """Every combination with an even number of hypotheses."""
    yield from (chosen for chosen in factorial(names) if len(chosen) % 2 == 0)


DESIGNS: dict[str, Callable[[Sequence[str]], Configurations]] = {
    one.__name__: one for one in (one_at_a_time, leave_one_out, factorial, half_factorial)
}


def swept(design: str, names: Sequence[str]) -> str:
    """The values of ``hypotheses`` in a sweep: ``[],[h1],[h2]``."""
    return ",".join(f"[{','.join(chosen)}]" for chosen in DESIGNS[design](list(names)))
