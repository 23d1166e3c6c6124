"""Age buckets, shared by the corpus, the curriculum and the scores."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from kidasr.errors import KidasrError

#: The default buckets, youngest first, each with its rank.
AGE_ORDER = {"3-4": 0, "5-6": 1, "7-8": 2, "9-10": 3, "11-12": 4, "13+": 5}

#: In years; a training set of children with a larger age probably has months, or adults.
OLDEST_CHILD = 20

#: The bucket of utterances whose age is unknown or outside every bucket; it comes last in every order.
UNKNOWN = "unknown"

#: Names that can't be labels: they have a meaning in tables and files.
RESERVED = (UNKNOWN, "all")

_BUCKET = re.compile(r"(\d+)-(\d+)|(\d+)\+")


def is_in_years(name: str) -> bool:
    """Whether a bucket is one of years (``"5-6"``, ``"13+"``) rather than a label (``"1st"``)."""
    return _BUCKET.fullmatch(name) is not None


def _bounds(names: Sequence[str]) -> list[tuple[int, float, str]]:
    """First and last year of each bucket, and its name.

    Args:
        names: Buckets, youngest first, as ``"5-6"`` (both ends included, in whole years) or ``"13+"``.

    Raises:
        KidasrError: If a name has another form, or the buckets overlap or are not in rising order.
    """
    bounds: list[tuple[int, float, str]] = []
    previous_end: float = -1
    for name in names:
        match = _BUCKET.fullmatch(name)
        if not match:
            raise KidasrError(
                f"data.age_buckets: {name!r} is no bucket; expected: like '5-6' or '13+' (data.age_order=[...] lists labels)"
            )
        start, end = int(match[1] or match[3]), float(match[2] or "inf")
        if start <= previous_end or end < start:
            raise KidasrError(
                f"data.age_buckets: {name!r} does not come after the bucket before it; "
                "expected: buckets in rising order that do not overlap"
            )
        bounds.append((start, end, name))
        previous_end = end
    return bounds


class AgeBuckets:
    """The buckets of one run, and how its manifests give ages.

    Args:
        names: Buckets, youngest first, like ``"5-6"`` (whole years, both ends included) or ``"13+"``. Not with ``order``.
        order: Labels, youngest first, such as grades: the manifests have these for ages, and they are the buckets.
        years: Labels with the age in years that each stands for: the manifests have these for ages.
        unit: The unit of ages that are numbers.

    Raises:
        KidasrError: If a name is malformed, or the buckets overlap or are not in ascending order; if a label is there twice
            or has another meaning; if the arguments contradict each other.
    """

    def __init__(
        self,
        names: Sequence[str] = tuple(AGE_ORDER),
        order: Sequence[str] | None = None,
        years: Mapping[str, float] | None = None,
        unit: Literal["years", "months"] = "years",
    ):
        _check_labels(names, order, years, unit)
        self.names = (*(map(str, order) if order else names), UNKNOWN)
        #: Rank of each bucket, youngest first, unknown last.
        self.order: Mapping[str, int] = {name: place for place, name in enumerate(self.names)}
        #: The labels that ages may have, each with its age in years, or None; empty if ages are numbers.
        self.labels: Mapping[str, float | None] = (
            dict.fromkeys(map(str, order)) if order else {str(label): age for label, age in (years or {}).items()}
        )
        #: Of the ages in the manifests.
        self.unit: Literal["years", "months"] = unit
        self._bounds = [] if order else _bounds(names)

    def bucket_of(self, age_years: float | None) -> str:
        """The bucket of an age in years: 6.9 is in ``"5-6"``. No age, or an age outside every bucket, is unknown."""
        if age_years is not None:
            for start, end, name in self._bounds:
                if start <= age_years < end + 1:
                    return name
        return UNKNOWN

    def describe(self) -> str | None:
        """How ages are read, if it is not the usual way: numbers of years."""
        if self.unit == "months":
            return "numbers of months (data.age_unit)"
        if not self.labels:
            return None
        if self._bounds:
            return ", ".join(f"{label} is {age:g} years" for label, age in self.labels.items()) + " (data.age_years)"
        return f"{', '.join(self.labels)} are the buckets, youngest first (data.age_order)"


def _check_labels(
    names: Sequence[str], order: Sequence[str] | None, years: Mapping[str, float] | None, unit: Literal["years", "months"]
) -> None:
    labels = [*map(str, order or ()), *map(str, years or ())]
    if order and years:
        raise KidasrError("data.age_order: not with data.age_years; expected: labels in order, or labels with years")
    if order and list(names) != list(AGE_ORDER):
        raise KidasrError("data.age_order: its labels are the buckets; expected: data.age_order or data.age_buckets")
    if labels and unit == "months":
        raise KidasrError("data.age_unit=months: labels have no unit; expected: data.age_unit=years with them")
    for place, label in enumerate(labels):
        if label in RESERVED:
            raise KidasrError(f"data.age_order: {label!r} has a meaning of its own; expected: another label")
        if label in labels[:place]:
            raise KidasrError(f"data.age_order: {label!r} is there twice; expected: each label once")
