"""The sets of one run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kidasr.corpus.manifest import Utterance


@dataclass(frozen=True)
class Sets:
    """Utterances for training, for scoring before and after training, and (may be empty) for testing the best model."""

    train: list[Utterance]
    validation: list[Utterance]
    #: The part of the validation set, or all of it, that evaluations during training transcribe.
    evaluation: list[Utterance]
    test: list[Utterance]
    #: Whether training transcripts are lower-cased.
    lower_case: bool

    def named(self) -> dict[str, list[Utterance]]:
        """The disjoint sets by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def changed(self, change: Callable[[str, Utterance], Utterance | None]) -> "Sets":
        """The sets with each utterance replaced by ``change(set name, utterance)``; None removes it."""

        def of(name: str, utterances: Sequence[Utterance]) -> list[Utterance]:
            return [new for utterance in utterances if (new := change(name, utterance)) is not None]

        named = {name: of(name, utterances) for name, utterances in self.named().items()}
        evaluation = of("validation", self.evaluation)
        return Sets(named["train"], named["validation"], evaluation, named["test"], self.lower_case)
