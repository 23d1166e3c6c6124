"""The corpus of one run: manifests are read, split and checked."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from kidasr.config.schema import Fraction, Group, OpenFraction, Seed, Text, Word
from kidasr.corpus.age import OLDEST_CHILD, AgeBuckets
from kidasr.corpus.audio_check import AudioCheck
from kidasr.corpus.filters import marks_of
from kidasr.corpus.formats.format import ManifestError
from kidasr.corpus.manifest import OLDEST_YEARS, FaultyLine, Utterance, read_manifest
from kidasr.corpus.set_names import set_of
from kidasr.corpus.sets import Sets
from kidasr.corpus.split import (
    check_audio_disjoint,
    check_speakers_disjoint,
    create_train_val_split,
    divide_by_field,
    limit_utterances,
    warn_of_spellings,
)
from kidasr.corpus.texts import Cleaning, without_markup
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
    start: Text
    end: Text
    offset: Text
    duration: Text
    gender: Text
    split: Text


class Corpus:
    """Manifests and how to read them; the arguments are the keys of the ``data`` group.

    Args:
        train, validation, test: Manifests, or corpora in another format. Without ``validation``, ``train`` is split: by its
            ``split`` field if that names a validation set, or else by holding out speakers. Scoring alone needs no
            ``train``.
        tests: Paths of the manifests of further test sets, by name; None in place of a path for none.
        limit_train, limit_validation, limit_test: Maximum number of utterances, drawn speaker by speaker; None for all.
            ``limit_test`` is that of each test set.
        full_validation_at_end: Whether ``limit_validation`` applies only to evaluations during training.
        split_seed: Decides which speakers are held out and which utterances a limit keeps.
        text_case: ``"lower"``, ``"as_is"``, or ``"auto"``: lower case if all training transcripts are in capitals, which
            Whisper never writes and would have to learn first.
        validation_fraction: Fraction of the speakers to hold out if there is no validation manifest.
        age_buckets, age_order, age_years, age_unit: See :class:`kidasr.corpus.age.AgeBuckets`.
        speakers: ``"unknown"``: the manifests need no speakers, and each utterance counts as a speaker of its own.
        clean: What is stripped from the texts of all sets: see :class:`kidasr.corpus.texts.Cleaning`.
        on_bad_audio, max_bad_fraction, decode_check_sec: Policy for bad recordings: see
            :class:`kidasr.corpus.audio_check.AudioCheck`.
        cache_sec: Seconds of decoded audio to keep in memory, for each set.
        fields: The name in the manifests of each kidasr field.
    """

    def __init__(
        self,
        train: Text | None,
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
        age_order: Annotated[list[Word], Field(min_length=1)] | None,
        age_years: Annotated[dict[Word, Annotated[float, Field(ge=0, le=OLDEST_YEARS)]], Field(min_length=1)] | None,
        age_unit: Literal["years", "months"],
        speakers: Literal["known", "unknown"],
        clean: Text | Annotated[list[Text], Field(min_length=1)],
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
        self.buckets = AgeBuckets(age_buckets, age_order, age_years, age_unit)
        self.speakers = speakers
        self.cleaning = Cleaning(clean)
        self.fields = dict(fields)  # lookups in a DictConfig are many times slower

    @staticmethod
    def mistakes(keys: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with ages, cleaning and the names of sets, though their types are right."""
        for check in (
            lambda: AgeBuckets(*(keys[name] for name in ("age_buckets", "age_order", "age_years", "age_unit"))),
            lambda: Cleaning(keys["clean"]),
        ):
            try:
                check()
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

    @staticmethod
    def needs_train(config: Mapping[str, Any]) -> Iterator[str]:
        """The mistake of a config without a training set, for jobs that need one."""
        if config["data"].get("train", "") is None:
            yield "data.train=null: should be a manifest or a folder; only job=evaluate does without"

    def load(self, faulty: list[FaultyLine] | None = None, trains: bool = True) -> Sets:
        """Read, split, check and limit the sets.

        Args:
            faulty: Takes the lines that can't be used, which are left out, so that all can be reported; a speaker in two
                sets is then accepted. None: the first such line or speaker is an error.
            trains: Whether there is a training set. If not, ``train`` is read only where the validation set is a part of it,
                and there may be no validation set.

        Raises:
            KidasrError: For an unusable manifest, or a speaker in two sets.
        """
        found: dict[str, list[Utterance]] = {"train": [], "validation": [], "test": []}
        if self.train is not None and (trains or self.validation is None):
            found["train"] = self._read("train", self.train, faulty)
        _warn_of_split("train", found["train"])
        named = {name for utterance in found["train"] if (name := set_of(utterance.split))}
        if self.validation is not None and len(named) > 1:
            log.warning(
                "data.train: all of its sets (%s) are trained on, as data.validation is given", ", ".join(sorted(named))
            )
        if self.validation is None and found["train"]:
            found |= divide_by_field(found["train"], None if faulty is None else partial(_of_no_set, faulty))
        is_held_out = self.validation is None and not found["validation"] and (trains or self.train is not None)
        if is_held_out:
            try:
                found["train"], found["validation"] = create_train_val_split(
                    found["train"], self.validation_fraction, self.buckets, self.split_seed
                )
            except KidasrError as error:
                if not faulty:
                    raise
                log.warning("%s", error)  # the faulty lines may be why
        for name, path in (("validation", self.validation), ("test", self.test)):
            if path is not None:
                if found[name]:
                    log.warning(
                        "data.train: its %d %s utterances are not used, as data.%s is given", len(found[name]), name, name
                    )
                found[name] = self._read(name, path, faulty)
                _warn_of_split(name, found[name])
        if found["test"] and "test" in self.tests:
            raise KidasrError(
                "data.tests.test: the split field of data.train names a set 'test' already; expected: another name"
            )
        if not found["test"]:
            del found["test"]
        for name, path in self.tests.items():
            found[name] = self._read(name, path, faulty)
            _warn_of_split(f"tests.{name}", found[name])
        if faulty is None:
            self._check_disjoint(found)
        if not trains:
            found["train"] = []
        cleaned = self.cleaning.apply(found)
        limited = {
            name: limit_utterances(utterances, self.limits.get(name, self.limits["test"]), self.split_seed)
            for name, utterances in cleaned.sets.items()
        }
        train, evaluation = limited.pop("train"), limited.pop("validation")
        validation = cleaned.sets["validation"] if self.full_validation_at_end else evaluation
        sets = Sets(
            train,
            validation,
            evaluation,
            limited,
            self._lower_case(train),
            cleaned.counts({"train": train, "validation": validation, **limited}),
        )
        for name, utterances in sets.named().items():
            log.info("data: %s: %d utterances %s", name, len(utterances), self._speakers_of(utterances))
            if mark := marks_of(utterances):
                log.log(
                    logging.INFO if name == "train" else logging.WARNING, "data: the %s set was filtered: %s", name, mark
                )
        if trains and len(sets.evaluation) < len(sets.validation):
            log.info("data: evaluations during training transcribe %d of the validation set", len(sets.evaluation))
        self._report(sets, is_held_out)
        cleaned.report(sets.named())
        return sets

    def _read(self, name: str, path: str, faulty: list[FaultyLine] | None) -> list[Utterance]:
        """The utterances of a set's manifest."""
        if faulty is None:
            return read_manifest(path, self.fields, self.buckets, self.speakers)

        def add(source: str, row: Mapping[str, Any], error: ManifestError) -> None:
            ids = (row.get(self.fields[field]) for field in ("utterance_id", "audio_path"))
            known = next((one for one in ids if isinstance(one, str) and one), source)
            faulty.append(FaultyLine(truncate(known), name, error.kind, str(error)))

        return read_manifest(path, self.fields, self.buckets, self.speakers, add)

    def _check_disjoint(self, found: Mapping[str, Sequence[Utterance]]) -> None:
        """Refuse speakers (if they are unknown, recordings) of train or validation in another set. Test sets may share."""
        keys = {name: f"tests.{name}" if name in self.tests else name for name in found if name != "train"}
        for name, key in keys.items():
            for other in ("train",) if name == "validation" else ("train", "validation"):
                if self.speakers == "known":
                    check_speakers_disjoint(found[other], found[name], other, key)
                    warn_of_spellings(found[other], found[name], other, key)
                else:
                    check_audio_disjoint(found[other], found[name], other, key)

    def _speakers_of(self, utterances: Sequence[Utterance]) -> str:
        if self.speakers == "unknown":
            return "of unknown speakers"
        return f"of {len({utterance.speaker_id for utterance in utterances})} speakers"

    def _report(self, sets: Sets, is_held_out: bool) -> None:
        """Log how ages and speakers are taken, and what is doubtful about them."""
        if self.buckets.describe():
            log.info("data: ages: %s", self.buckets.describe())
        old = [utterance for utterance in sets.train if utterance.age is not None and utterance.age > OLDEST_CHILD]
        if old:
            months = "" if self.buckets.unit == "months" else "; if ages are in months: data.age_unit=months"
            log.warning(
                "data: train: %d of %d utterances have an age over %d years, e.g. %s: %g%s",
                *(len(old), len(sets.train), OLDEST_CHILD, old[0].source, old[0].age, months),
            )
        if self.speakers == "unknown":
            both = (
                "utterances are held out for validation, so the same child may be in both sets and WER is then too low"
                if is_held_out
                else "whether a child is in two sets can't be checked"
            )
            log.warning(
                "data.speakers=unknown: each utterance counts as a speaker of its own: intervals are too narrow, and %s",
                both,
            )
            field = self.fields["speaker_id"]
            if any(field in (utterance.extra or ()) for utterances in sets.named().values() for utterance in utterances):
                log.warning("data.speakers=unknown: the field %r of the manifests is not used", field)

    def _lower_case(self, train: Sequence[Utterance]) -> bool:
        if self.text_case != "auto":
            return self.text_case == "lower"
        if not train or any(letter.islower() for utterance in train for letter in without_markup(utterance.text)):
            return False
        log.info("data: the training transcripts are all in capitals; using lower case (data.text_case=as_is keeps them)")
        return True


def _of_no_set(faulty: list[FaultyLine], utterance: Utterance, error: KidasrError) -> None:
    faulty.append(FaultyLine(utterance.utterance_id, "train", "bad_value", str(error)))


def _warn_of_split(name: str, utterances: Sequence[Utterance]) -> None:
    """Log that a manifest of one set says that it is another one; a training manifest of several sets is another matter."""
    sets = {named for utterance in utterances if (named := set_of(utterance.split))}
    own = name if name in ("train", "validation") else "test"
    if (len(sets) == 1 and own not in sets) or (own != "train" and "train" in sets):
        said = ", ".join(sorted(sets))
        log.warning("data.%s: its split field says %s; used all the same: is it the right manifest?", name, said)
