"""Perturbation-invariant fine-tuning (PIF)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeFloat

from kidasr.errors import KidasrError
from kidasr.features.padding import FRAMES_PER_SEC
from kidasr.training.objective import Objective, Step

if TYPE_CHECKING:
    import torch

    from kidasr.features.augment import Augmentations


class PerturbationInvariant(Objective):
    """Cross entropy of one view, plus the distance between the encoder's outputs of two views of an utterance.

    Fan et al. (2024, arXiv 2406.10507). The distance is that of their code: the mean squared difference of the encoder's
    last hidden states, over the positions that the recording covers and over the width. Two things differ. Their first view
    is the recording as it is, and ours is augmented too, by a draw of its own. They average over the positions of a batch;
    here the distance of an utterance counts with the number of its tokens, as cross entropy does, so that the loss of a step
    does not depend on how it is divided into batches.

    Args:
        weight: Weight of the distance; 0 is the cross entropy of the first view.
    """

    views = 2

    def __init__(self, weight: NonNegativeFloat):
        self.weight = weight

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """Without augmentation both views are the same; a frozen encoder can't make them more alike."""
        if not config["augment"]:
            yield "objective: pif compares augmented views of an utterance; expected: an augmentation, augment=specaugment"
        if config["freeze"].get("freeze_encoder_steps") == -1:
            yield "freeze.freeze_encoder_steps=-1: objective=pif changes the encoder; expected: freeze=none"
        if config["adapter"].get("part") == "decoder":
            yield "adapter.part=decoder: objective=pif changes the encoder; expected: adapter.part=both"

    def check(self, augment: Augmentations) -> None:
        """Views of different lengths have no positions to compare, and equal views nothing to make alike."""
        for name, one in augment.by_name.items():
            if getattr(one, "max_length_factor", 1.0) != 1.0:
                raise KidasrError(f"augment.{name}: changes the length of an utterance, {_NO_POSITIONS}")
            if not getattr(one, "keeps_positions", True):
                raise KidasrError(f"augment.{name}: moves sounds in time, {_NO_POSITIONS}")
        if not augment.draws_views:
            raise KidasrError(
                f"augment: {', '.join(augment.by_name)} would make both views of an utterance alike, and objective=pif "
                "compares them; expected: an augmentation that draws for each view, as specaugment does"
            )

    def token_losses(self, step: Step) -> torch.Tensor:
        """Cross entropy of the first view's tokens, to each of which the distance of its utterance is added."""
        from torch.nn import functional

        from kidasr.features.recogniser import IGNORED_LABEL

        losses = functional.cross_entropy(step.logits[0], step.targets, reduction="none")
        if not self.weight:
            return losses
        distances = self.distances(step)
        tokens = (step.inputs["labels"][: len(distances)] != IGNORED_LABEL).sum(1)
        return losses + self.weight * distances.repeat_interleave(tokens, output_size=len(losses))

    def distances(self, step: Step) -> torch.Tensor:
        """The mean squared difference between the encodings of the views of each utterance, shape ``(utterances,)``.

        Raises:
            KidasrError: If the views of an utterance have different lengths.
        """
        import torch

        durations_sec = step.durations_sec
        assert durations_sec is not None, "of several views"
        first_sec = durations_sec[: len(durations_sec) // 2]
        if list(first_sec) != list(durations_sec[len(first_sec) :]):
            raise KidasrError(f"augment: changes the length of an utterance, {_NO_POSITIONS}")
        one, other = step.outputs.encoder_last_hidden_state.float().chunk(2)
        per_sec = FRAMES_PER_SEC * one.shape[1] / step.inputs["input_features"].shape[-1]
        covered = torch.tensor([max(1, round(per_sec * duration_sec)) for duration_sec in first_sec])
        covered = covered.clamp(max=one.shape[1]).to(one.device, non_blocking=True)
        is_covered = torch.arange(one.shape[1], device=one.device) < covered[:, None]
        squares = (one - other).square().mean(-1)
        return (squares * is_covered).sum(1) / covered

    def describe(self) -> str:
        """A short description for the log."""
        return f"pif, cross entropy and {self.weight:g} times the distance between the encodings of two augmented views"


_NO_POSITIONS = (
    "so objective=pif can't compare its views position by position; expected: augmentations that keep it, as "
    "specaugment does"
)
