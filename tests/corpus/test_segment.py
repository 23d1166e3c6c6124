"""Where recordings are cut, and how transcripts are divided among the pieces."""

from itertools import combinations_with_replacement, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidasr.corpus.segment import Span, cuts, divide


def spans(speech: list[Span], length_sec: float, max_sec: float, **options: set[int]) -> list[tuple[float, float]]:
    return [(cut.span.start_sec, cut.span.end_sec) for cut in cuts(speech, length_sec, max_sec, **options)]


def test_a_recording_is_cut_in_its_longest_pauses_and_keeps_some_silence() -> None:
    speech = [Span(1, 4), Span(4.4, 8), Span(10, 13), Span(13.6, 17)]
    assert spans(speech, 17.2, 30) == [(0.5, 17.2)]
    assert spans(speech, 17.2, 9) == [(0.5, 8.5), (9.5, 17.2)]
    assert spans(speech, 17.2, 7.9) == [(0.5, 4.2), (4.2, 8.5), (9.5, 17.2)], "half of a short pause each"
    assert spans(speech, 17.2, 16, avoid={1}) == [(0.5, 13.3), (13.3, 17.2)], "the next longest"
    assert spans(speech, 17.2, 30, keep={0}) == [(0.5, 4.2), (4.2, 17.2)]
    assert spans([Span(0, 40)], 41, 30) == [(0, 40)], "no pause to cut at"
    assert spans([], 41, 30) == []


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.floats(0.1, 3)), min_size=1, max_size=12),
    st.floats(5, 30),
    st.sets(st.integers(0, 10)),
)
def test_pieces_hold_all_speech_once_and_none_is_too_long_that_has_a_pause(
    lengths: list[tuple[float, float]], max_sec: float, avoid: set[int]
) -> None:
    speech, time_sec = [], 0.0
    for speech_sec, pause_sec in lengths:
        speech.append(Span(round(time_sec, 3), round(time_sec + speech_sec, 3)))
        time_sec += speech_sec + pause_sec
    found = cuts(speech, time_sec, max_sec, avoid)
    held = [
        [one for one in speech if cut.span.start_sec <= one.start_sec and one.end_sec <= cut.span.end_sec] for cut in found
    ]
    assert [one for several in held for one in several] == speech
    for cut, several in zip(found, held, strict=True):
        assert len(several) == 1 or cut.span.end_sec - cut.span.start_sec <= max_sec + 1e-6
    assert all(before.span.end_sec <= after.span.start_sec + 2e-3 for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("words", "heard", "places"),
    [
        ("the red cat sat down", ["the red cat", "sat down"], [3]),
        ("the red cat sat down", ["the rat cad", "that town"], [3]),  # every word misheard
        ("we go home", ["", "we go home"], [0]),
        ("we go home", ["we go home you", "thank"], [3]),  # words that nobody said
        ("twenty three cats ran away home", ["23 cats", "ran away", "home"], [3, 5]),
        ("one  two  three", ["one", "two three"], [2]),  # an empty word, of markup, goes with the word before
    ],
)
def test_a_transcript_is_divided_by_what_was_heard(words: str, heard: list[str], places: list[int]) -> None:
    keys = [{"twenty": "20", "three": "3"}.get(word, word) if "cats" in words else word for word in words.split(" ")]
    assert divide(keys, heard)[0] == places


def test_how_sure_a_cut_is_is_how_much_worse_the_next_best_place_is() -> None:
    words = ["the", "red", "cat", "sat", "down"]
    assert divide(words, ["the red cat", "sat down"])[1] == [8], "a word moved is deleted here and inserted there"
    assert divide(words, ["the red", "sat down"])[1] == [0], "a word that was heard nowhere may be in either"
    assert divide(["no", "no", "no"], ["no", "no"])[1] == [0], "as may one that is said again and again"
    assert divide([], ["what", "is that"]) == ([0], [0])
    assert divide(words, ["the red cat sat down"]) == ([], [])


@given(
    st.lists(st.sampled_from(["a", "cat", "catch", "down", "", "the 3"]), max_size=7),
    st.lists(st.sampled_from(["", "a cat", "catch the 3", "down"]), min_size=2, max_size=3),
)
def test_no_other_division_is_better(words: list[str], heard: list[str]) -> None:
    from rapidfuzz.distance import Levenshtein

    def distance(places: tuple[int, ...]) -> int:
        bounds = [0, *places, len(words)]
        said = ["".join(f"{word} " for word in words[first:last] if word) for first, last in pairwise(bounds)]
        return sum(Levenshtein.distance(one, f"{other} " if other else "") for one, other in zip(said, heard, strict=True))

    places, margins = divide(words, heard)
    assert places == sorted(places)
    if all(margins):
        every = combinations_with_replacement(range(len(words) + 1), len(heard) - 1)
        assert distance(tuple(places)) == min(map(distance, every))
