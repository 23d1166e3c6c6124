"""The corpus of one run: manifests are read, split and checked."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from kidasr.config.schema import Fraction, Group, OpenFraction, Seed, Text
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio_check import AudioCheck
from kidasr.corpus.manifest import Utterance, read_manifest
from kidasr.corpus.sets import Sets
from kidasr.corpus.split import check_speakers_disjoint, create_train_val_split, divide_by_field, limit_utterances
from kidasr.errors import KidasrError, truncate

log = logging.getLogger(__name__)

#: What a test set may be called: its name is part of file names and is typed as ``on=NAME``.
SET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Fields(Group):
    """The names of kidasr's fields in the user's manifests."""

    audio_path: Text
    text: Text
    speaker_id: Text
    utterance_id: Text
    age: Text
    age_bucket: Text
    duration_sec: Text
    gender: Text
    split: Text


class Corpus:
    """Manifests and how to read them; the arguments are the keys of the ``data`` group.

    Args:
        train, validation, test: Paths of manifests. Without ``validation``, the train manifest is split: by its ``split``
            field if that names a validation set, or else by holding out speakers.
        tests: Paths of the manifests of further test sets, by name; None in place of a path for none.
        limit_train, limit_validation, limit_test: Maximum number of utterances, drawn speaker by speaker; None for all.
            ``limit_test`` is that of each test set.
        full_validation_at_end: Whether ``limit_validation`` applies only to evaluations during training.
        split_seed: Decides which speakers are held out and which utterances a limit keeps.
        text_case: ``"lower"``, ``"as_is"``, or ``"auto"``: lower case if all training transcripts are in capitals, which
            Whisper never writes and would have to learn first.
        validation_fraction: Fraction of the speakers to hold out if there is no validation manifest.
        age_buckets: Names, youngest first.
        on_bad_audio, max_bad_fraction, decode_check_sec: Policy for bad recordings: see
            :class:`kidasr.corpus.audio_check.AudioCheck`.
        cache_sec: Seconds of decoded audio to keep in memory, for each set.
        fields: The name in the manifests of each kidasr field.
    """

    def __init__(
        self,
        train: Text,
        validation: Text | None,
        test: Text | None,
        tests: dict[Text, Text | None] | None,
        limit_train: PositiveInt | None,
        limit_validation: PositiveInt | None,
        limit_test: PositiveInt | None,
        full_validation_at_end: bool,
        split_seed: Seed,
        text_case: Literal["auto", "as_is", "lower"],
        validation_fraction: OpenFraction,
        on_bad_audio: Literal["error", "skip"],
        max_bad_fraction: Fraction,
        decode_check_sec: NonNegativeFloat | None,
        cache_sec: NonNegativeFloat,
        age_buckets: Annotated[list[Text], Field(min_length=1)],
        fields: Fields,
    ):
        self.train, self.validation, self.test = train, validation, test
        self.tests = {name: path for name, path in (tests or {}).items() if path is not None}
        self.limits = {"train": limit_train, "validation": limit_validation, "test": limit_test}
        self.full_validation_at_end = full_validation_at_end
        self.split_seed = split_seed
        self.text_case = text_case
        self.validation_fraction = validation_fraction
        #: What is done about bad recordings.
        self.audio_check = AudioCheck(on_bad_audio, max_bad_fraction, decode_check_sec)
        self.cache_sec = cache_sec
        self.buckets = AgeBuckets(age_buckets)
        self.fields = dict(fields)  # lookups in a DictConfig are many times slower

    @staticmethod
    def mistakes(keys: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with age buckets and names of sets of the right type."""
        try:
            AgeBuckets(keys["age_buckets"])
        except KidasrError as error:
            yield str(error)
        for name, path in (keys.get("tests") or {}).items():
            if not SET_NAME.fullmatch(name):
                yield (
                    f"data.tests.{truncate(name)}: can't be the name of a set; expected: letters, digits, - and _, "
                    "beginning with a letter, up to 64"
                )
            elif name in ("train", "validation"):
                yield f"data.tests.{name}: the name of another set; expected: any name but train and validation"
            elif name == "test" and path is not None and keys.get("test") is not None:
                yield "data.tests.test: data.test is the set of that name already; expected: one of the two"

    def load(self) -> Sets:
        """Read, split, check and limit the sets.

        Raises:
            KidasrError: For an unusable manifest, or a speaker in two sets.
        """
        found = {"train": read_manifest(self.train, self.fields, self.buckets), "validation": [], "test": []}
        if self.validation is None:
            found |= divide_by_field(found["train"])
        if self.validation is None and not found["validation"]:
            found["train"], found["validation"] = create_train_val_split(
                found["train"], self.validation_fraction, self.buckets, self.split_seed
            )
        for name, path in (("validation", self.validation), ("test", self.test)):
            if path is not None:
                found[name] = read_manifest(path, self.fields, self.buckets)
        tests = {"test": found["test"]} if found["test"] else {}
        if "test" in tests and "test" in self.tests:
            raise KidasrError(
                "data.tests.test: the split field of data.train names a set 'test' already; expected: another name"
            )
        tests |= {name: read_manifest(path, self.fields, self.buckets) for name, path in self.tests.items()}
        check_speakers_disjoint(found["train"], found["validation"], "train", "validation")
        for name, utterances in tests.items():
            key = f"tests.{name}" if name in self.tests else name
            for other in ("train", "validation"):
                check_speakers_disjoint(found[other], utterances, other, key)
        train, evaluation = (
            limit_utterances(found[name], self.limits[name], self.split_seed) for name in ("train", "validation")
        )
        sets = Sets(
            train,
            found["validation"] if self.full_validation_at_end else evaluation,
            evaluation,
            {name: limit_utterances(ones, self.limits["test"], self.split_seed) for name, ones in tests.items()},
            self._lower_case(train),
        )
        for name, utterances in sets.named().items():
            speakers = len({utterance.speaker_id for utterance in utterances})
            log.info("data: %s: %d utterances of %d speakers", name, len(utterances), speakers)
        if len(sets.evaluation) < len(sets.validation):
            log.info("data: evaluations during training transcribe %d of the validation set", len(sets.evaluation))
        return sets

    def _lower_case(self, train: Sequence[Utterance]) -> bool:
        if self.text_case != "auto":
            return self.text_case == "lower"
        if any(letter.islower() for utterance in train for letter in utterance.text):
            return False
        log.info("data: the training transcripts are all in capitals; using lower case (data.text_case=as_is keeps them)")
        return True
