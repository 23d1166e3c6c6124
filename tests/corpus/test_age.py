from typing import Any

import pytest

from kidasr.corpus.age import AGE_ORDER, UNKNOWN, AgeBuckets
from kidasr.errors import KidasrError


@pytest.mark.parametrize(
    ("age_years", "bucket"),
    [
        (3, "3-4"),
        (4.99, "3-4"),
        (5, "5-6"),
        (6.9, "5-6"),
        (12, "11-12"),
        (13, "13+"),
        (17, "13+"),
        (2, UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_the_bucket_of_an_age(age_years: float | None, bucket: str) -> None:
    assert AgeBuckets().bucket_of(age_years) == bucket


def test_the_default_order_is_the_checklists_with_unknown_last() -> None:
    assert AGE_ORDER == {"3-4": 0, "5-6": 1, "7-8": 2, "9-10": 3, "11-12": 4, "13+": 5}
    assert AgeBuckets().order == {**AGE_ORDER, UNKNOWN: 6}


def test_other_buckets() -> None:
    buckets = AgeBuckets(["3-4", "5-7", "8-11", "12+"])
    assert [buckets.bucket_of(age) for age in (7.5, 8, 12)] == ["5-7", "8-11", "12+"]


@pytest.mark.parametrize("names", [["3-5", "5-6"], ["5-6", "3-4"], ["13+", "14+"], ["6-5"], ["five"]])
def test_buckets_that_overlap_or_fall_are_refused(names: list[str]) -> None:
    with pytest.raises(KidasrError, match=r"data\.age_buckets"):
        AgeBuckets(names)


def test_labels_are_buckets_in_their_own_order() -> None:
    buckets = AgeBuckets(order=["K", "1st", "2nd"])
    assert buckets.order == {"K": 0, "1st": 1, "2nd": 2, UNKNOWN: 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": ["K", "K"]}, "'K' is there twice"),
        ({"order": ["all"]}, "'all' has a meaning of its own"),
        ({"order": ["K"], "years": {"K": 5.5}}, "not with data.age_years"),
        ({"order": ["K"], "names": ["3-4"]}, "data.age_order or data.age_buckets"),
        ({"years": {"K": 5.5}, "unit": "months"}, "labels have no unit"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KidasrError, match=message):
        AgeBuckets(**arguments)
