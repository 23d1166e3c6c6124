"""Cutting recordings at pauses: with a model that hears what it is told, with the embedded one, and with a real one."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kidasr.corpus.manifest import Utterance
from kidasr.corpus.recipes.recipe import Found
from kidasr.corpus.segment import DOUBTFUL, MISHEARD, NO_PAUSE, NO_WORDS, Piece, Span
from kidasr.errors import KidasrError
from kidasr.recognition import segment
from kidasr.recognition import speech as speech_module
from kidasr.recognition.segment import VadSegmenter
from tests.conftest import KIDS, MICRO, ROOT, TINY_EN, read_json, read_jsonl, real_data
from tests.corpus.recipes.corpora import noise, text
from tests.corpus.recipes.test_recipes import prepared

RATE_HZ = 16_000


def segmenter(**change: Any) -> VadSegmenter:
    keys: dict[str, Any] = {"on": ["train"], "max_sec": 3.0, "min_pause_sec": 0.3, "model": str(MICRO), "language": "en"}
    return VadSegmenter(**{**keys, "batch_size": 8, "min_margin": 2, "max_error": 0.6, **change})


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Cuts a recording of given stretches of speech, in which given words are heard: ``{start of a stretch: words}``."""

    def pieces(transcript: str, speech: Sequence[tuple[float, float]], heard: dict[float, str]) -> list[Piece]:
        def transcripts(parts: Sequence[Utterance], *_: Any) -> Iterator[str]:
            for part in parts:
                assert part.start_sec is not None and part.end_sec is not None
                yield " ".join(words for start, words in heard.items() if part.start_sec <= start < part.end_sec)

        path = noise(tmp_path / "long.wav", speech[-1][1] + 0.1 if speech else 5.0)
        recogniser = SimpleNamespace(scoring=SimpleNamespace(normalize=str.lower))
        monkeypatch.setattr(speech_module, "speech_detector", lambda *_: lambda _: [Span(*one) for one in speech])
        monkeypatch.setattr(VadSegmenter, "_recogniser", lambda _: recogniser)
        monkeypatch.setattr(VadSegmenter, "_transcriber", lambda *_: None)
        monkeypatch.setattr(segment, "_transcripts", transcripts)
        (found,) = segmenter().pieces([Found("long", "s", path, transcript)])
        assert " ".join(piece.text for piece in found if piece.text) == transcript
        return found

    return pieces


def test_words_go_to_the_piece_in_which_they_were_heard(cut: Any) -> None:
    found = cut("Two red cats no three dogs", [(0.0, 2.0), (3.0, 5.0)], {0.0: "two red hats", 3.0: "no tree dogs"})
    assert found == [Piece(Span(0.0, 2.5), "Two red cats"), Piece(Span(2.5, 5.1), "no three dogs")]


def test_where_a_word_was_heard_nowhere_another_pause_is_cut_at(cut: Any) -> None:
    speech = [(0.0, 1.0), (1.5, 2.0), (2.8, 4.0)]
    heard = {0.0: "two red cats", 1.5: "they", 2.8: "three dogs"}
    found = cut("two red cats they saw three dogs", speech, heard)
    assert [(piece.text, piece.doubt) for piece in found] == [("two red cats", ""), ("they saw three dogs", "")]
    assert found[0].span.end_sec == 1.25, "not in the longest pause"
    found = cut("two red cats they saw three dogs", speech[1:], {1.5: "two red cats they", 2.8: "three dogs"})
    assert {piece.doubt for piece in found} == {DOUBTFUL}, "no other pause"


@pytest.mark.parametrize(
    ("speech", "heard", "doubts"),
    [
        ([(0.0, 2.0), (3.0, 5.0)], {0.0: "two red cats", 3.0: "no treats for you all day long"}, ["", MISHEARD]),
        ([(0.0, 2.0), (3.0, 5.0), (6.0, 8.0)], {0.0: "two red cats no three dogs"}, ["", NO_WORDS, NO_WORDS]),
        ([(0.0, 4.0), (5.0, 6.0)], {0.0: "two red cats", 5.0: "no three dogs"}, [NO_PAUSE, ""]),
        ([], {}, [NO_WORDS]),
    ],
)
def test_a_piece_is_left_out_that_is_misheard_doubtful_or_too_long(
    cut: Any, speech: Sequence[tuple[float, float]], heard: dict[float, str], doubts: list[str]
) -> None:
    assert [piece.doubt for piece in cut("two red cats no three dogs", speech, heard)] == doubts


def joined(path: Path, recordings: Sequence[Path], pauses_sec: Sequence[float]) -> list[tuple[float, float]]:
    """Write recordings one after another, each with a pause after it; returns where each is, in seconds."""
    samples: list[Any] = []
    found, time_sec = [], 0.0
    rng = np.random.default_rng(1)
    for recording, pause_sec in zip(recordings, pauses_sec, strict=True):
        one, rate_hz = soundfile.read(recording, dtype="float32")
        assert rate_hz == RATE_HZ
        samples += [one, 1e-4 * rng.standard_normal(round(pause_sec * RATE_HZ))]
        found.append((time_sec, time_sec + len(one) / RATE_HZ))
        time_sec += sum(map(len, samples[-2:])) / RATE_HZ
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(samples), RATE_HZ)
    return found


def long_manifest(
    folder: Path, speakers: dict[str, tuple[Sequence[dict[str, Any]], Path, Sequence[float]]]
) -> dict[str, Any]:
    """A manifest of a long recording of each speaker; returns each word's place."""
    words: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for speaker, (spoken, corpus, pauses_sec) in speakers.items():
        times = joined(folder / f"{speaker}.flac", [corpus / row["audio_path"] for row in spoken], pauses_sec)
        words[speaker] = [time for row, time in zip(spoken, times, strict=True) for _ in row["text"].split()]
        row = {"utterance_id": speaker, "speaker_id": speaker, "split": "train", "audio_path": f"{speaker}.flac"}
        rows.append({**row, "text": " ".join(one["text"] for one in spoken)})
    text(folder / "long.jsonl", *map(json.dumps, rows))
    return words


def right(rows: Sequence[dict[str, Any]], left_out: Sequence[dict[str, Any]], words: dict[str, Any]) -> tuple[int, int, int]:
    """How many words are in the right piece, in a wrong one, and left out."""
    pieces: list[Any] = [(row["utterance_id"], row["text"], row["start"], row["end"]) for row in rows]
    pieces += [(row["utterance_id"], row["detail"].partition(" s: ")[2], None, None) for row in left_out]
    counts: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    waiting = {speaker: iter(times) for speaker, times in words.items()}
    for name, said, first, last in sorted(pieces):
        for _ in said.split():
            start, end = next(waiting[name.rpartition("-")[0]])
            # The middle of what was said, since there is silence at its ends.
            counts[None if first is None else first <= (start + end) / 2 <= last] += 1
    assert not any(list(rest) for rest in waiting.values()), "every word is in one piece"
    return counts[True], counts[False], counts[None]


def test_the_embedded_model_cuts_a_long_recording_of_an_adult(tmp_path: Path) -> None:
    pytest.importorskip("silero_vad")
    corpus = ROOT / "kidasr" / "embedded" / "corpus"
    rows = read_jsonl(corpus / "adults.jsonl")
    spoken = [row for row in rows if row["speaker_id"] == rows[0]["speaker_id"]][:4]
    words = long_manifest(tmp_path / "m", {"a": (spoken, corpus, [0.7] * len(spoken))})
    short = ("segment=vad", "segment.max_sec=2.9", f"segment.model={MICRO}", "validation_fraction=0", "test_fraction=0")
    threads = torch.get_num_threads()
    sets = prepared(tmp_path / "out", "manifest", tmp_path / "m" / "long.jsonl", *short)
    assert torch.get_num_threads() == threads
    assert right(sets["train"], read_jsonl(tmp_path / "out" / "left_out.jsonl"), words) == (len(words["a"]), 0, 0)
    assert len(sets["train"]) > 1 and all(row["duration_sec"] <= 2.9 for row in sets["train"])


def test_a_window_that_is_shorter_and_a_package_that_is_missing_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KidasrError, match=r"^segment\.max_sec=30; expected: up to 3, the model's window$"):
        list(segmenter(max_sec=30.0).pieces([]))
    with pytest.raises(KidasrError, match=r"^segment\.model=/nowhere: no such folder"):
        list(segmenter(model="/nowhere").pieces([]))
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(KidasrError, match=r"^segment=vad: needs the package silero-vad; pip install 'kidasr\[vad\]'$"):
        list(segmenter().pieces([]))


@real_data
@pytest.mark.real_data
def test_real_children_s_words_are_in_the_right_piece_or_left_out(tmp_path: Path) -> None:
    pytest.importorskip("silero_vad")
    by_speaker: dict[str, list[dict[str, Any]]] = {}
    for row in read_jsonl(KIDS / "train.jsonl"):
        by_speaker.setdefault(row["speaker_id"], []).append(row)
    rng = np.random.default_rng(7)
    speakers: dict[str, Any] = {}
    for speaker in sorted(by_speaker)[::20]:
        spoken = by_speaker[speaker][:14]
        speakers[speaker] = (spoken, KIDS, rng.uniform(0.5, 1, len(spoken)))
    words = long_manifest(tmp_path / "m", speakers)
    short = ("segment=vad", f"segment.model={TINY_EN}", "validation_fraction=0", "test_fraction=0")
    sets = prepared(tmp_path / "out", "manifest", tmp_path / "m" / "long.jsonl", *short)
    assert all(row["duration_sec"] <= 30 for row in sets["train"])
    good, wrong, left_out = right(sets["train"], read_jsonl(tmp_path / "out" / "left_out.jsonl"), words)
    told = read_json(tmp_path / "out" / "summary.json")["segmented"]["train"]
    assert told["recordings"] == len(speakers) and told["pieces"] >= 2 * len(speakers)
    assert wrong <= 0.01 * good and left_out < good, (good, wrong, left_out, told)
