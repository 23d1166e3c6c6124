"""A corpus of generated speech, clean or with one of every fault planted."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE_HZ = 16_000

WORDS = (
    *("apple", "basket", "candle", "dragon", "engine", "flower", "garden", "hammer", "island", "jacket", "kettle", "ladder"),
    *("market", "needle", "orange", "pencil", "rabbit", "silver", "tunnel", "window", "yellow", "zebra", "bottle", "cherry"),
)

Samples = np.ndarray[Any, Any]


def sentence(number: int, words: int = 5) -> str:
    """A sentence that no other number has."""
    rng = np.random.default_rng([number, words])
    return " ".join(str(word) for word in rng.choice(WORDS, words))


def speech(text: str, seed: int = 0, rate_hz: int = RATE_HZ, chars_per_sec: float = 11) -> Samples:
    """Voiced bursts, one for each word, with gaps and a noise floor, in the rhythm of reading."""
    rng = np.random.default_rng([seed, zlib.crc32(text.encode())])
    parts = [np.zeros(rate_hz // 8)]
    for word in text.split():
        time_sec = np.arange(int(rate_hz * len(word) / chars_per_sec)) / rate_hz
        pitch_hz = rng.uniform(200, 350)
        voice = sum(
            rng.uniform(0.2, 1) / harmonic * np.sin(2 * np.pi * harmonic * pitch_hz * time_sec) for harmonic in (1, 2, 3, 5)
        )
        syllables = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * time_sec)
        parts += [0.15 * voice * syllables * np.hanning(len(time_sec)), np.zeros(rate_hz // 16)]
    samples = np.concatenate([*parts, np.zeros(rate_hz // 8)])
    return samples + 5e-4 * rng.standard_normal(len(samples))


class Planted:
    """Writes a corpus: ``rows`` of each set, and the ids in which each kind of finding is expected.

    Args:
        folder: The folder of the manifests and the recordings.
        planted: Whether to plant faults.
        also: Fields of further utterances in the training set.
    """

    def __init__(self, folder: Path, planted: bool, also: Sequence[Mapping[str, Any]] = ()):
        self.folder = folder
        self.rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
        self.expected: dict[str, set[str]] = {}
        self._number = 0
        for set_name, speakers in (("train", 8), ("validation", 4)):
            for speaker in range(speakers):
                for _ in range(6):
                    self.add(f"{set_name}{speaker}", set_name=set_name)
        if planted:
            self._plant()
        for fields in also:
            self.add("train0", **fields)
        for set_name, rows in self.rows.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{set_name}.jsonl").write_text(lines, encoding="utf-8")

    def overrides(self) -> list[str]:
        """The data of a command."""
        where = [f"data.{name}={self.folder / name}.jsonl" for name in self.rows]
        return ["data=manifest", *where]

    def add(
        self,
        speaker: str,
        *kinds: str,
        set_name: str = "train",
        samples: Samples | None = None,
        rate_hz: int = RATE_HZ,
        ending: str = "wav",
        write: Callable[[Path], object] | None = None,
        **fields: Any,
    ) -> str:
        """Add an utterance in which these kinds of findings are expected; returns its text."""
        self._number += 1
        name = f"u{self._number:03}"
        text = fields.setdefault("text", sentence(self._number))
        path = self.folder / f"{name}.{ending}"
        if write is None:
            made = speech(text, self._number, rate_hz) if samples is None else samples
            soundfile.write(path, made, rate_hz)
        else:
            write(path)
        row = {"utterance_id": name, "audio_path": path.name, "speaker_id": speaker, "age": 7, **fields}
        self.rows[set_name].append({key: value for key, value in row.items() if value is not None})
        for kind in kinds:
            self.expected.setdefault(kind, set()).add(name)
        return str(text)

    def _plant(self) -> None:
        long = sentence(1001, 14)
        good = speech(long, 1)

        def cut(path: Path) -> None:
            soundfile.write(path, good, RATE_HZ)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

        def damaged(path: Path) -> None:
            soundfile.write(path, good, RATE_HZ)
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])

        self.add("train0", "unreadable", write=lambda path: None)
        self.add("train0", "unreadable", write=lambda path: path.write_text("no audio " * 99, encoding="utf-8"))
        self.add("train0", "unreadable", ending="flac", write=damaged)
        self.add("train0", "truncated", write=cut)
        self.add("train0", "empty", write=Path.touch)
        self.add("train0", "too_long", samples=np.tile(good, 1 + int(30 * RATE_HZ / len(good))))
        # Of the sound.
        self.add("train1", "silent", samples=np.zeros(2 * RATE_HZ))
        spoken = speech(sentence(1014, 6), 6)
        self.add("train1", "silent", samples=np.stack([spoken, -spoken], axis=1))  # channels that cancel each other
        for number, ceiling in ((2, 1.0), (3, 0.4)):  # clipped at full scale, and turned down afterwards
            text = sentence(1000 + number, 6)
            self.add("train1", "clipped", text=text, samples=ceiling * np.clip(12 * speech(text, number), -1, 1))
        rng = np.random.default_rng(0)
        text = sentence(1004, 6)
        loud = speech(text, 4)
        self.add("train1", "noisy", text=text, samples=loud + loud.std() * rng.standard_normal(len(loud)))
        self.add("train1", "low_rate", rate_hz=8_000)
        text = sentence(1005, 14)
        spoken = speech(text, 5)
        quiet = 5e-4 * rng.standard_normal(6 * RATE_HZ)
        self.add("train1", "edge_silence", text=text, samples=np.concatenate([quiet, spoken]))
        text = sentence(1006, 14)
        first, second = np.array_split(speech(text, 6), 2)
        self.add("train1", "long_pause", text=text, samples=np.concatenate([first, quiet, second]))
        self.add("train1", "wrong_duration", duration_sec=0.5)
        # Of text and sound.
        self.add("train2", "text_too_long", text=sentence(1007, 16), samples=speech(sentence(1007, 3), 7))
        self.add("train2", "text_too_short", text=sentence(1008, 3), samples=speech(sentence(1008, 16), 8))
        # The same recording.
        for kind, sets, texts in (
            ("duplicate", ("train", "train"), (sentence(1009, 6),) * 2),
            ("duplicate_with_other_text", ("train", "train"), (sentence(1010, 6), sentence(1011, 6))),
            ("duplicate_across_sets", ("train", "validation"), (sentence(1012, 6),) * 2),
        ):
            spoken = np.round(32_000 * speech(texts[0], len(kind))).astype(np.int16)
            for ending, set_name, text in zip(("wav", "flac"), sets, texts, strict=True):
                also = ["prompt_in_two_sets"] if set_name == "validation" else []
                self.add(f"{set_name}2", kind, *also, set_name=set_name, samples=spoken, ending=ending, text=text)
        # Speakers and ages.
        self.add("both", "speaker_in_two_sets")
        self.add("both", "speaker_in_two_sets", set_name="validation")
        self.add("alone", "single_utterance")
        for age, kind in ((6, "ages_of_a_speaker_differ"), (11, "ages_of_a_speaker_differ")):
            self.add("grown", kind, age=age)
        for _ in range(2):
            self.add("months", "odd_age", age=84)
        self.add("train3", "age_unknown", age=None)
        # Texts.
        self.add("train4", "empty_text", text="...", samples=speech(sentence(1013), 13))
        self.add("train4", "few_words", text="yellow")
        self.add("train4", "other_script", text="seven yellow \u0441\u0430ts")  # Cyrillic letters that look like Latin ones
        self.add("train4", "control_characters", text="seven\u200b yellow zebras")
        self.add("train4", "wrong_encoding", text="a caf\u00c3\u00a9 with flowers")
        self.add("train4", "control_token", text="orange pencils <|endoftext|>", samples=speech("orange pencils", 14))
        for marked in ("orange <unk> pencils", "orange [laughs] pencils", "orange xxx pencils", "orange &-um pencils"):
            self.add("train5", "markup", text=marked)
        self.add("train5", "digits", text="room 2300 has windows")
        self.add("train5", "mixed_capitals", text="ORANGE PENCILS AND RABBITS")
        self.add(
            "train5", "too_many_tokens", "text_too_long", text=sentence(1015, 400), samples=speech(sentence(1015, 9), 15)
        )
        self.add("validation3", "prompt_in_two_sets", set_name="validation", text=self.rows["train"][0]["text"])
