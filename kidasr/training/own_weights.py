"""Checkpoints of a model of which training changes only a part: that part, and a checksum of the rest."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from kidasr.errors import KidasrError

#: The file in a checkpoint, and the key of the checksum in its metadata.
OWN_WEIGHTS, BASE = "own_weights.safetensors", "base_sha256"


class OwnWeights:
    """The weights that an adapter trains.

    Args:
        model: The model with the adapter; the weights that are not the adapter's are the pretrained ones.
        names: Names of the adapter's weights in the model's state.
    """

    def __init__(self, model: torch.nn.Module, names: Sequence[str]):
        self.model, self.names = model, frozenset(names)
        #: SHA-256 of all other weights. They are not in the checkpoints: a resumed run loads the pretrained model again.
        self.base_sha256 = self._base_checksum()

    def tensors(self) -> Iterator[torch.Tensor]:
        """The weights that a checkpoint contains."""
        return (tensor for name, tensor in self.model.state_dict().items() if name in self.names)

    def save(self, folder: Path) -> None:
        """Write them to a checkpoint."""
        state = self.model.state_dict()
        weights = {name: state[name].contiguous() for name in sorted(self.names)}
        save_file(weights, folder / OWN_WEIGHTS, metadata={BASE: self.base_sha256})

    def load(self, folder: Path) -> None:
        """Read them from a checkpoint into the model.

        Raises:
            KidasrError: If the checkpoint is of other weights, or of another pretrained model.
        """
        with safe_open(folder / OWN_WEIGHTS, "pt") as file:
            base = file.metadata()[BASE]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if base != self.base_sha256:
            raise KidasrError(
                f"{folder}: an adapter of other pretrained weights than those of model.name_or_path now; expected: the "
                "checkpoint that the run began with, or resume=never overwrite=true to begin again"
            )
        if weights.keys() != self.names:
            raise KidasrError(f"{folder}: its weights are not those of the adapter; expected: the adapter that wrote it")
        self.model.load_state_dict(weights, strict=False)

    def _base_checksum(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted({**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}.items()):
            if name not in self.names:
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()
