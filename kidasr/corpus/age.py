"""Age buckets, shared by the corpus, the curriculum and the scores."""

from collections.abc import Mapping, Sequence

from kidasr.config.age_buckets import bucket_bounds

#: The default buckets, youngest first, each with its rank.
AGE_ORDER = {"3-4": 0, "5-6": 1, "7-8": 2, "9-10": 3, "11-12": 4, "13+": 5}

#: The bucket of utterances whose age is unknown or outside every bucket; it comes last in every order.
UNKNOWN = "unknown"


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
        self._bounds = bucket_bounds(names)

    def bucket_of(self, age_years: float | None) -> str:
        """The bucket of an age in years: 6.9 is in ``"5-6"``. No age, or an age outside every bucket, is unknown."""
        if age_years is not None:
            for start, end, name in self._bounds:
                if start <= age_years < end + 1:
                    return name
        return UNKNOWN
