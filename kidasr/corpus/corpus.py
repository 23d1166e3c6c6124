"""The corpus of one run: its manifests, read, divided and checked."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance, read_manifest
from kidasr.corpus.split import check_speakers_disjoint, create_train_val_split, divide_by_field, limit_utterances

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sets:
    """The utterances to train on, to choose the best model by, and (may be empty) to test it on."""

    train: list[Utterance]
    validation: list[Utterance]
    test: list[Utterance]
    #: Whether to train on the texts in lower case.
    lower_case: bool

    def named(self) -> dict[str, list[Utterance]]:
        """The sets by their names."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Corpus:
    """Manifests and how to read them; the arguments are the keys of the ``data`` group.

    Args:
        train, validation, test: Paths of manifests. Without ``validation``, the train manifest is divided: by its own
            ``split`` field if that names a validation set, else speakers are held out.
        limit_train, limit_validation, limit_test: Largest number of utterances; None for all.
        text_case: ``"lower"``, ``"as_is"``, or ``"auto"``: lower case where the training texts are all in capitals, which
            Whisper never writes and would first have to learn.
        validation_fraction: Share of the speakers to hold out where there is no validation manifest.
        age_buckets: Names, youngest first.
        cache_sec: Seconds of decoded audio of each set to keep in memory.
        fields: Name in the manifests of each of kidasr's fields.
    """

    def __init__(
        self,
        train: str,
        validation: str | None,
        test: str | None,
        limit_train: int | None,
        limit_validation: int | None,
        limit_test: int | None,
        text_case: str,
        validation_fraction: float,
        cache_sec: float,
        age_buckets: Sequence[str],
        fields: Mapping[str, str],
    ):
        self.train, self.validation, self.test = train, validation, test
        self.limits = {"train": limit_train, "validation": limit_validation, "test": limit_test}
        self.text_case = text_case
        self.validation_fraction = validation_fraction
        self.cache_sec = cache_sec
        self.buckets = AgeBuckets(age_buckets)
        self.fields = fields

    def load(self, seed: int) -> Sets:
        """Read, divide, check and limit.

        Raises:
            KidasrError: For a manifest that can't be used, or a speaker in two sets.
        """
        found = {"train": read_manifest(self.train, self.fields, self.buckets), "validation": [], "test": []}
        if self.validation is None:
            found |= divide_by_field(found["train"])
        if self.validation is None and not found["validation"]:
            found["train"], found["validation"] = create_train_val_split(
                found["train"], self.validation_fraction, self.buckets, seed
            )
        for name, path in (("validation", self.validation), ("test", self.test)):
            if path is not None:
                found[name] = read_manifest(path, self.fields, self.buckets)
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            check_speakers_disjoint(found[one], found[other], one, other)
        limited = {name: limit_utterances(utterances, self.limits[name], seed) for name, utterances in found.items()}
        for name, utterances in limited.items():
            if utterances:
                speakers = len({utterance.speaker_id for utterance in utterances})
                log.info("data: %s: %d utterances of %d speakers", name, len(utterances), speakers)
        return Sets(**limited, lower_case=self._lower_case(limited["train"]))

    def _lower_case(self, train: Sequence[Utterance]) -> bool:
        if self.text_case != "auto":
            return self.text_case == "lower"
        if any(letter.islower() for utterance in train for letter in utterance.text):
            return False
        log.info("data: the training texts are all in capitals; trained on in lower case (data.text_case=as_is keeps them)")
        return True
