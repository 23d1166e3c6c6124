"""Low-rank weights of which each utterance of a batch uses those of its own age group."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from kidasr.errors import KidasrError

#: The argument of encoder and decoder, and the key of a batch: shape ``(batch,)``, the number of each utterance's group.
AGE_GROUPS = "age_groups"

#: The number of no group.
NO_GROUP = -1


class BatchGroups:
    """The age group of each utterance in the batch that the model computes.

    A hook takes it from the arguments of the encoder and the decoder. It stays until the next call, because gradient
    checkpointing computes the layers again in the backward pass.

    Args:
        groups: Number of groups.
        rank: Columns of each group in a layer.
    """

    def __init__(self, groups: int, rank: int):
        self._group_of_column = torch.arange(groups).repeat_interleave(rank)
        self._others: torch.Tensor | None = None

    def take(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Take the groups out of a call's arguments: a forward pre-hook.

        Raises:
            KidasrError: If there are none. Nothing computes without ages what was trained with them.
        """
        rest = dict(kwargs)
        groups = rest.pop(AGE_GROUPS, None)
        if groups is None:
            raise KidasrError("the model has an adapter for each age group, and this batch has no ages")
        self._group_of_column = self._group_of_column.to(groups.device)
        self._others = (groups[:, None] != self._group_of_column)[:, None]
        return args, rest

    def keep_own(self, columns: torch.Tensor) -> torch.Tensor:
        """Set the columns of other groups to 0.

        Args:
            columns: Shape ``(batch, positions, groups * rank)``.

        Raises:
            KidasrError: If the batch is not the one whose groups were given.
        """
        if self._others is None or len(self._others) != len(columns):
            raise KidasrError(f"the model has an adapter for each age group, and a batch of {len(columns)} has other ages")
        return columns.masked_fill(self._others, 0)


class GroupLora(nn.Module):
    """The low-rank weights of all age groups of a linear layer: ``scale * B_g A_g x`` for an utterance of the group g.

    The groups' weights are stacked: A has the rows of all groups, and what other groups' rows give is set to 0 before B. So
    there is one product for all groups, no copy of weights for each utterance, and a group's gradient is exactly that of its
    own utterances. As the rank is low, all groups together are still small beside the layer.

    Args:
        base: The linear layer.
        groups: Number of groups.
        rank: Rank of each.
        scale: Factor of the output.
        dropout: Dropout of the input in training.
        batch: The groups of the batch.
    """

    def __init__(self, base: nn.Linear, groups: int, rank: int, scale: float, dropout: float, batch: BatchGroups):
        super().__init__()
        self.rank, self.scale, self.batch = rank, scale, batch
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        kind: dict[str, Any] = {"bias": False, "device": base.weight.device, "dtype": base.weight.dtype}
        self.lora_A = nn.Linear(base.in_features, groups * rank, **kind)
        self.lora_B = nn.Linear(groups * rank, base.out_features, **kind)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))  # as peft's
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What is added to the layer's output; 0 for an utterance of no group.

        Args:
            inputs: Shape ``(batch, positions, in_features)``.
        """
        # Scaled where it is small.
        outputs: torch.Tensor = self.lora_B(self.batch.keep_own(self.lora_A(self.dropout(inputs))) * self.scale)
        return outputs

    def add_to(self, layer: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        """Add it to the layer's output: a forward hook."""
        return output + self(args[0])

    def weights_of(self, group: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B of one group, with the scale in B; shapes ``(rank, in_features)`` and ``(out_features, rank)``."""
        own = slice(group * self.rank, (group + 1) * self.rank)
        return self.lora_A.weight.detach()[own], self.scale * self.lora_B.weight.detach()[:, own]
