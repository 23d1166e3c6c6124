"""LoRA by age: low-rank weights for each age group beside those that all children share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, PositiveFloat, PositiveInt

from kidasr.config.schema import Text
from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.model.lora import Lora, adapted

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

#: Folder of a saved model with a peft adapter for each age group, for the model that is saved beside it.
AGE_ADAPTERS = "age_adapters"


class AgeLora(Lora):
    """A LoRA that all utterances share, and a smaller one for each age group on top of it.

    A layer ``W x`` becomes ``W x + alpha / r * (B A x + B_g A_g x)`` for an utterance of the age group g: a LoRA of rank
    ``r + group_r``, of which a part is the group's own. Both are trained together, from an untrained adapter that changes
    nothing. An utterance whose age is unknown, or of a group without training data, has the shared part alone.

    The groups are the run's age buckets. :meth:`merge` adds the shared part to W; :meth:`save_groups` writes the others.

    Args:
        r, alpha, dropout, targets, part, learning_rate_factor: See :class:`kidasr.model.lora.Lora`.
        group_r: Rank of a group's own part.
    """

    #: What metrics, log and report say about the scores.
    scored_with = "scored with each child's own age adapter; unknown ages and ages without training data: the shared one"

    def __init__(
        self,
        r: PositiveInt,
        group_r: PositiveInt,
        alpha: PositiveFloat,
        dropout: Annotated[float, Field(ge=0, lt=1)],
        targets: Annotated[list[Text], Field(min_length=1)],
        part: Literal["encoder", "decoder", "both"],
        learning_rate_factor: PositiveFloat,
    ):
        super().__init__(r, alpha, dropout, targets, part, learning_rate_factor)
        self.group_r = group_r
        #: Number of each group, by its age bucket.
        self.groups: Mapping[str, int] = {}
        self._hooks: list[Any] = []

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """What computes without knowing of ages."""
        if config["trainer"].get("torch_compile"):
            yield "trainer.torch_compile=true: not with adapter=age; expected: false, or adapter=lora"

    def choose_groups(self, train: Sequence[Utterance], buckets: AgeBuckets) -> Mapping[str, int]:
        """The groups: the age buckets of the training set, youngest first, each with its number.

        Raises:
            KidasrError: If no age is known.
        """
        counts = Counter(one.age_bucket for one in train)
        names = [name for name in buckets.names if counts[name] and name != UNKNOWN]
        if not names:
            raise KidasrError(
                "adapter=age: no utterance of data.train has a known age; expected: ages in the manifest, or adapter=lora"
            )
        self.groups = {name: number for number, name in enumerate(names)}
        shown = ", ".join(f"{name} ({counts[name]:,})" for name in names)
        alone = len(train) - sum(counts[name] for name in names)
        log.info("adapter: age groups with their training utterances: %s; of no known age: %d", shown, alone)
        return self.groups

    def wrap(self, model: torch.nn.Module) -> None:
        """Add the adapters in place, as :meth:`Lora.wrap`, and those of the groups.

        Raises:
            KidasrError: If the model is not a Whisper.
        """
        from kidasr.model.age_groups import BatchGroups, GroupLora
        from kidasr.model.short_input import WhisperForConditionalGeneration

        if not isinstance(model, WhisperForConditionalGeneration):
            raise KidasrError(
                f"adapter=age: a {type(model).__name__} does not take the age of an utterance; expected: a Whisper, or "
                "adapter=lora"
            )
        super().wrap(model)
        batch, added = BatchGroups(len(self.groups), self.group_r), 0
        for _, layer in list(adapted(model)):
            layer.by_age = GroupLora(
                layer.get_base_layer(), len(self.groups), self.group_r, self.alpha / self.r, self.dropout, batch
            )
            layer.register_forward_hook(layer.by_age.add_to)
            added += sum(parameter.numel() for parameter in layer.by_age.parameters())
        self._hooks = [
            part.register_forward_pre_hook(batch.take, with_kwargs=True)
            for part in (model.get_encoder(), model.get_decoder())
        ]
        log.info(
            "adapter: for each of %d age groups another of rank %d: %s more parameters",
            *(len(self.groups), self.group_r, f"{added:,}"),
        )

    def save_groups(self, model: torch.nn.Module, folder: Path) -> None:
        """Write each group's own part as a peft adapter of the merged model. Call it before :meth:`merge`.

        Args:
            model: The model, not yet merged.
            folder: The folder of the saved model.
        """
        from peft import LoraConfig
        from safetensors.torch import save_file

        layers = dict(adapted(model))
        for bucket, number in self.groups.items():
            weights = {}
            for name, layer in layers.items():
                first, second = layer.by_age.weights_of(number)
                weights[f"base_model.model.{name}.lora_A.weight"] = first.contiguous()
                weights[f"base_model.model.{name}.lora_B.weight"] = second.contiguous()
            path = group_folder(folder, bucket)
            path.mkdir(parents=True)
            LoraConfig(  # the scale is in B
                r=self.group_r, lora_alpha=self.group_r, target_modules=sorted(layers), inference_mode=True
            ).save_pretrained(str(path))
            save_file(weights, path / "adapter_model.safetensors", metadata={"format": "pt"})

    def merge(self, model: torch.nn.Module) -> None:
        """Add the shared part to the weights, and take out the adapters, the groups' too."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        super().merge(model)


def group_folder(folder: Path, bucket: str) -> Path:
    """Where a saved model has the adapter of an age bucket; a label may have characters that a file name can't."""
    return folder / AGE_ADAPTERS / quote(bucket, safe="+ ")
