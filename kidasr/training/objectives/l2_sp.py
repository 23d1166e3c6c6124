"""Staying close to the pretrained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeFloat

from kidasr.errors import KidasrError
from kidasr.processes import number_of_processes
from kidasr.training.objective import Objective, no_adapter

if TYPE_CHECKING:
    import torch


class L2StartingPoint(Objective):
    """Cross entropy plus ``alpha / 2`` times the squared distance of the trained weights from the pretrained ones.

    L2-SP of Li et al. (2018, arXiv 1802.01483). It is part of the loss, as in the paper, so that gradient clipping sees it,
    and an optimizer such as AdamW scales it by the size of the gradients, as it does cross entropy. All weights are
    pretrained here, so there is no second term for new layers. A frozen encoder is where it began and is left out.

    Args:
        alpha: Weight of the distance; 0 is cross entropy.
    """

    def __init__(self, alpha: NonNegativeFloat):
        self.alpha = alpha
        self._pretrained: dict[str, torch.Tensor] = {}

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """The weights of an adapter begin at random or at 0."""
        if config["adapter"]["_target_"] != f"{no_adapter.__module__}.{no_adapter.__name__}":
            yield "objective: l2_sp needs pretrained values of the weights that are trained; expected: adapter=none"

    def begin(self, model: torch.nn.Module) -> None:
        """Keep the pretrained values of all weights that may be trained.

        Raises:
            KidasrError: If each process drops other layers: the penalty has a gradient for weights that the batch has none
                for, which DistributedDataParallel can't average.
        """
        from kidasr.model.short_input import drops_layers

        if self.alpha and number_of_processes(None) > 1 and drops_layers(model):
            raise KidasrError(
                "objective=l2_sp: not in several processes with a model that drops layers (encoder_layerdrop in its "
                "config.json); expected: trainer.num_processes=1, or another objective"
            )
        if self.alpha:
            self._pretrained = {name: one.detach().clone() for name, one in _trainable(model)}

    def __call__(self, logits: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy."""
        from torch.nn import functional

        return functional.cross_entropy(logits[0], targets, reduction="none")

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """The weighted squared distance of the weights that are trained now."""
        terms = []
        for name, weight in _trainable(model) if self._pretrained else ():
            before = self._pretrained[name] = self._pretrained[name].to(weight.device)
            terms.append((weight - before).square().sum())
        return self.alpha / 2 * sum(terms[1:], terms[0]) if terms else None

    def describe(self) -> str:
        """A short description for the log."""
        return f"l2_sp, cross entropy and {self.alpha:g} / 2 times the squared distance from the pretrained weights"


def _trainable(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, one) for name, one in model.named_parameters() if one.requires_grad)
