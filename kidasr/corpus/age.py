"""Age buckets, shared by the corpus, the curriculum and the scores."""

import re
from collections.abc import Mapping, Sequence

from kidasr.errors import KidasrError

#: The default buckets, youngest first, each with its rank.
AGE_ORDER = {"3-4": 0, "5-6": 1, "7-8": 2, "9-10": 3, "11-12": 4, "13+": 5}

#: The bucket of utterances whose age is unknown or outside every bucket; it comes last in every order.
UNKNOWN = "unknown"


_BUCKET = re.compile(r"(\d+)-(\d+)|(\d+)\+")


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
            raise KidasrError(f"data.age_buckets: {name!r} is no bucket; expected: like '5-6' or '13+'")
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
    """The buckets of one run.

    Args:
        names: Buckets, youngest first, like ``"5-6"`` (whole years, both ends included) or ``"13+"``.

    Raises:
        KidasrError: If a name is malformed, or the buckets overlap or are not in ascending order.
    """

    def __init__(self, names: Sequence[str] = tuple(AGE_ORDER)):
        self.names = (*names, UNKNOWN)
        #: Rank of each bucket, youngest first, unknown last.
        self.order: Mapping[str, int] = {name: place for place, name in enumerate(self.names)}
        self._bounds = _bounds(names)

    def bucket_of(self, age_years: float | None) -> str:
        """The bucket of an age in years: 6.9 is in ``"5-6"``. No age, or an age outside every bucket, is unknown."""
        if age_years is not None:
            for start, end, name in self._bounds:
                if start <= age_years < end + 1:
                    return name
        return UNKNOWN
