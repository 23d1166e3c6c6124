"""Findings, and the registry of the checks that make them."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kidasr.corpus.checks.limits import Limits
from kidasr.corpus.checks.measure import Recording
from kidasr.corpus.checks.vocabulary import Vocabulary
from kidasr.corpus.manifest import FaultyLine, Utterance
from kidasr.errors import KidasrError, truncate

#: ``error``: training would stop, or its result would be wrong. ``warning``: it would be worse. ``note``: good to know.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Flagged(NamedTuple):
    """An utterance of a finding."""

    #: Index into :attr:`Examined.utterances`.
    place: int
    #: What was measured, in a few words.
    remark: str


@dataclass(frozen=True)
class Finding:
    """Utterances with the same fault, the worst first."""

    #: Name of the fault, such as ``clipped``.
    kind: str
    severity: Severity
    flagged: Sequence[Flagged]
    #: What it is, what it does to a training, and what to do about it.
    detail: str
    #: Lines of manifests that are no utterances, since they can't be used.
    lines: Sequence[FaultyLine] = ()

    @property
    def size(self) -> int:
        """How many have the fault."""
        return len(self.flagged) + len(self.lines)


@dataclass(frozen=True)
class Examined:
    """A corpus with all that the checks need to know. The sequences are parallel."""

    utterances: Sequence[Utterance]
    #: The set of each utterance.
    sets: Sequence[str]
    #: What was measured of each recording.
    recordings: Sequence[Recording]
    #: Whether training transcripts are lower-cased.
    lower_case: bool
    limits: Limits
    vocabulary: Vocabulary
    #: The lines of the manifests that can't be used; they are not among the utterances.
    faulty: Sequence[FaultyLine] = ()
    #: Whether speakers are known; if not, each utterance stands for one.
    speakers_known: bool = True

    def set_names(self) -> list[str]:
        """The names of the sets, in order."""
        return list(dict.fromkeys(self.sets))

    def by_set(self) -> dict[str, list[int]]:
        """The places of each set's utterances."""
        places: dict[str, list[int]] = {name: [] for name in self.set_names()}
        for place, name in enumerate(self.sets):
            places[name].append(place)
        return places

    def grouped(self, key: Callable[[int], object]) -> dict[object, list[int]]:
        """The places of the utterances by their key; those whose key is None are left out."""
        groups: dict[object, list[int]] = {}
        for place in range(len(self.utterances)):
            value = key(place)
            if value is not None:
                groups.setdefault(value, []).append(place)
        return groups

    def share(self, places: Sequence[object]) -> str:
        """Their number among all utterances, in words: ``"12 of 480 utterances (2.5%)"``."""
        return share(len(places), len(self.utterances))


#: A check looks at the whole corpus and yields what it finds; a finding without utterances or lines is dropped.
Check = Callable[[Examined], Iterable[Finding]]

CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Register a check."""
    CHECKS.append(function)
    return function


def run_checks(examined: Examined) -> Iterator[Finding]:
    """What all checks of this package and of ``check.modules`` find.

    Raises:
        KidasrError: If a module can't be imported.
    """
    package = importlib.import_module(__name__.rpartition(".")[0])
    modules = [f"{package.__name__}.{one.name}" for one in pkgutil.iter_modules(package.__path__)]
    for name in [*sorted(modules), *examined.limits.modules]:
        try:
            importlib.import_module(name)
        except Exception as error:  # a user's module can raise anything
            reason = truncate(f"{type(error).__name__}: {error}")
            raise KidasrError(
                f"check.modules: {name} can't be imported: {reason}; expected: a module with checks"
            ) from error
    for one in CHECKS:
        if one.__module__ in (*modules, *examined.limits.modules):
            yield from (finding for finding in one(examined) if finding.size)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first; of the same severity, those with the most utterances first."""
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), -one.size))


def worst_first(measured: Mapping[int, float], remark: Callable[[float], str], descending: bool = True) -> list[Flagged]:
    """Flagged utterances in the order of what was measured."""
    order = sorted(measured, key=measured.__getitem__, reverse=descending)
    return [Flagged(place, remark(measured[place])) for place in order]


def share(count: int, total: int) -> str:
    """``"12 of 480 utterances (2.5%)"``."""
    return f"{count:,} of {total:,} utterances ({percent(count, total)})"


def percent(count: int, total: int) -> str:
    """``"2.5%"``, and ``"0.0042%"`` of many."""
    value = 100 * count / max(1, total)
    return f"{value:.1f}%" if value >= 1 else f"{value:.2g}%"
