"""Age buckets as the user names them: ``data.age_buckets``."""

import re
from collections.abc import Sequence

from kidasr.errors import KidasrError

_BUCKET = re.compile(r"(\d+)-(\d+)|(\d+)\+")


def bucket_bounds(names: Sequence[str]) -> list[tuple[int, float, str]]:
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
