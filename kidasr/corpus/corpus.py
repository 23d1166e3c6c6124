"""The corpus of one run: its manifests, read, divided and checked."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance, read_manifest
from kidasr.corpus.split import check_speakers_disjoint, create_train_val_split, limit_utterances

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sets:
    """The utterances to train on, to choose the best model by, and (may be empty) to test it on."""

    train: list[Utterance]
    validation: list[Utterance]
    test: list[Utterance]


class Corpus:
    """Manifests and how to read them; the arguments are the keys of the ``data`` group.

    Args:
        train, validation, test: Paths of manifests. Without ``validation``, speakers are held out of ``train``.
        limit_train, limit_validation: Largest number of utterances; None for all.
        validation_fraction: Share of the speakers to hold out where there is no validation manifest.
        age_buckets: Names, youngest first.
        fields: Name in the manifests of each of kidasr's fields.
    """

    def __init__(
        self,
        train: str,
        validation: str | None,
        test: str | None,
        limit_train: int | None,
        limit_validation: int | None,
        validation_fraction: float,
        age_buckets: Sequence[str],
        fields: Mapping[str, str],
    ):
        self.train, self.validation, self.test = train, validation, test
        self.limit_train, self.limit_validation = limit_train, limit_validation
        self.validation_fraction = validation_fraction
        self.buckets = AgeBuckets(age_buckets)
        self.fields = fields

    def load(self, seed: int) -> Sets:
        """Read, divide, check and limit.

        Raises:
            KidasrError: For a manifest that can't be used, or a speaker in two sets.
        """
        train = read_manifest(self.train, self.fields, self.buckets)
        if self.validation is None:
            train, validation = create_train_val_split(train, self.validation_fraction, self.buckets, seed)
        else:
            validation = read_manifest(self.validation, self.fields, self.buckets)
            check_speakers_disjoint(train, validation, "validation")
        test = read_manifest(self.test, self.fields, self.buckets) if self.test else []
        check_speakers_disjoint(train, test, "test")
        sets = Sets(
            limit_utterances(train, self.limit_train, seed),
            limit_utterances(validation, self.limit_validation, seed),
            test,
        )
        for name, utterances in vars(sets).items():
            if utterances:
                speakers = len({utterance.speaker_id for utterance in utterances})
                log.info("data: %s: %d utterances of %d speakers", name, len(utterances), speakers)
        return sets
