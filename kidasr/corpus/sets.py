"""The sets of one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kidasr.corpus.manifest import Utterance


@dataclass(frozen=True)
class Sets:
    """Utterances for training, for scoring before and after training and choosing the model, and for scoring alone."""

    train: list[Utterance]
    validation: list[Utterance]
    #: The part of the validation set, or all of it, that evaluations during training transcribe.
    evaluation: list[Utterance]
    #: Test sets by name, in the order in which they are reported; ``data.test`` is the set named ``test``.
    tests: Mapping[str, list[Utterance]] = field(default_factory=dict)
    #: Whether training transcripts are lower-cased.
    lower_case: bool = False
    #: What was done to the texts of each set, see :meth:`kidasr.corpus.texts.Cleaned.counts`.
    cleaned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def test(self) -> list[Utterance]:
        """The set named ``test``; empty if there is none."""
        return self.tests.get("test", [])

    def named(self) -> dict[str, list[Utterance]]:
        """All sets by name, without empty ones. A speaker of train or validation is in no other set."""
        return _not_empty({"train": self.train, "validation": self.validation, **self.tests})

    def scored(self) -> dict[str, list[Utterance]]:
        """The sets that are scored, by name, without empty ones."""
        return _not_empty({"validation": self.validation, **self.tests})

    def changed(self, change: Callable[[str, Utterance], Utterance | None]) -> "Sets":
        """The sets with each utterance replaced by ``change(set name, utterance)``; None removes it."""

        def of(name: str, utterances: Sequence[Utterance]) -> list[Utterance]:
            return [new for utterance in utterances if (new := change(name, utterance)) is not None]

        return Sets(
            of("train", self.train),
            of("validation", self.validation),
            of("validation", self.evaluation),
            {name: of(name, utterances) for name, utterances in self.tests.items()},
            self.lower_case,
            self.cleaned,
        )


def _not_empty(sets: Mapping[str, list[Utterance]]) -> dict[str, list[Utterance]]:
    return {name: utterances for name, utterances in sets.items() if utterances}
