"""ONNX (https://onnx.ai): encoder and decoder as two graphs, for ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from kidasr.errors import KidasrError
from kidasr.model.formats.format import Format

if TYPE_CHECKING:
    import torch

    from kidasr.model.whisper import Whisper

#: The graphs, named as Optimum names them, with its names of inputs and outputs.
ENCODER, DECODER = "encoder_model.onnx", "decoder_model.onnx"

#: Larger graphs keep their weights in a second file: one file holds 2 GB at most.
LARGEST_BYTES = 1_900_000_000


class Onnx(Format):
    """Writes the graphs with PyTorch's own exporter, and tokenizer, feature extractor and configs beside them.

    The encoder takes any even number of frames up to its window. The decoder takes all tokens so far and has no cache, which
    is the simplest to call, and costs more the longer a transcript is.

    Args:
        opset: Version of the ONNX operators.
    """

    def __init__(self, opset: PositiveInt):
        self.opset = opset

    def check(self) -> None:
        """See :meth:`Format.check`."""
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise KidasrError(
                f"format=onnx: needs the package {error.name}; expected: pip install -e '.[export]'"
            ) from error

    def write(self, whisper: Whisper, folder: Path) -> None:
        """See :meth:`Format.write`."""
        import torch

        model = whisper.model.eval()
        model.config._attn_implementation = "eager"  # kidasr's own is for masks, which the graphs do not have
        encoder, decoder = _modules(model)
        frames, width = 2 * model.config.max_source_positions, model.config.d_model
        features = torch.zeros(2, whisper.mel_bins, frames - 100)
        hidden = torch.zeros(2, features.shape[2] // 2, width)
        tokens = torch.zeros(2, 5, dtype=torch.long)
        dim = torch.export.Dim
        batch, pairs = dim("batch"), dim("pairs", max=frames // 2)
        positions, length = dim("positions", max=frames // 2), dim("tokens", max=whisper.max_tokens)
        self._export(
            *(encoder, {"input_features": features}, "last_hidden_state", folder / ENCODER),
            {"input_features": {0: batch, 2: 2 * pairs}},
        )
        self._export(
            *(decoder, {"input_ids": tokens, "encoder_hidden_states": hidden}, "logits", folder / DECODER),
            {"input_ids": {0: batch, 1: length}, "encoder_hidden_states": {0: batch, 1: positions}},
        )
        whisper.model.config.save_pretrained(folder)
        whisper.model.generation_config.save_pretrained(folder)
        whisper.save_processor(folder)

    def _export(
        self, module: torch.nn.Module, inputs: dict[str, Any], output: str, path: Path, shapes: dict[str, Any]
    ) -> None:
        import torch

        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")  # of names of dimensions that are equal
            torch.onnx.export(
                module.eval(),
                kwargs=inputs,
                f=str(path),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=shapes,
                opset_version=self.opset,
                dynamo=True,
                external_data=sum(one.nbytes for one in module.parameters()) > LARGEST_BYTES,
                verbose=False,
            )

    def describe(self) -> str:
        """See :meth:`Format.describe`."""
        return f"ONNX, float32, opset {self.opset} (ONNX Runtime)"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings that torchvision is not installed."""
    library = logging.getLogger("torch.onnx")
    before = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(before)


def _modules(model: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Encoder and decoder as modules of tensors alone."""
    import torch
    from torch.nn import functional

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.get_encoder()

        def forward(self, input_features: torch.Tensor) -> torch.Tensor:
            own = self.encoder
            hidden = functional.gelu(own.conv2(functional.gelu(own.conv1(input_features)))).transpose(1, 2)
            hidden = hidden + own.embed_positions.weight[: hidden.shape[1]]
            for layer in own.layers:
                hidden = layer(hidden, None)
            normed: torch.Tensor = own.layer_norm(hidden)
            return normed

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder, self.proj_out = model.get_decoder(), model.proj_out

        def forward(self, input_ids: torch.Tensor, encoder_hidden_states: torch.Tensor) -> torch.Tensor:
            found = self.decoder(input_ids=input_ids, encoder_hidden_states=encoder_hidden_states, use_cache=False)
            logits: torch.Tensor = self.proj_out(found.last_hidden_state)
            return logits

    return Encoder(), Decoder()
