"""Whisper on input shorter than its window: subclasses of transformers' own classes.

Stock Whisper always takes 30 seconds. Here the encoder takes any even number of frames and adds only their positions, as the
Whisper recipes of icefall and ESPnet do. A mask keeps a batch's padding out of every attention. On a full window without a
mask, both classes are bit-identical to transformers'. A saved model is a plain Whisper checkpoint: weights, config and class
name are transformers' own.
"""

import functools
from typing import Any

import torch
import transformers
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.whisper import modeling_whisper

from kidasr.features.recogniser import IGNORED_LABEL
from kidasr.model.age_groups import AGE_GROUPS
from kidasr.model.kept_encodings import KeptEncodings

#: Added to the scores of padding: the softmax of it is 0, and all floating-point types can hold it.
VERY_LOW = torch.finfo(torch.float16).min


class WhisperEncoder(modeling_whisper.WhisperEncoder):
    """transformers' encoder, for input of any length up to its window."""

    #: Outputs that are kept while the encoder is frozen.
    kept: KeptEncodings | None = None

    def is_window(self, input_features: torch.Tensor) -> bool:
        """Whether the input is as long as the model's window."""
        window = self.config.max_source_positions * self.conv1.stride[0] * self.conv2.stride[0]
        return input_features.shape[-1] == window

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: Any = None,
        frame_mask: torch.Tensor | None = None,
        keys: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode.

        Args:
            input_features: Log-mel, shape ``(batch, mel_bins, frames)``, an even number of 10-ms frames; 0 where
                ``frame_mask`` is false, as the convolutions pad.
            attention_mask: Not used, as in transformers.
            frame_mask: Real positions, bool, shape ``(batch, frames / 2)``, or the mask that :func:`additive` made of them;
                None if all are real.
            keys: Identify the inputs, shape ``(batch,)``; with :attr:`kept`, a known input is not encoded again.
        """
        if self.kept is not None and keys is not None:
            return BaseModelOutput(last_hidden_state=self.kept(self._encode, input_features, frame_mask, keys))
        return self._encode(input_features, frame_mask, **kwargs)

    def _encode(self, input_features: torch.Tensor, frame_mask: torch.Tensor | None, **kwargs: Any) -> BaseModelOutput:
        if self.is_window(input_features) and frame_mask is None:
            return super().forward(input_features, **kwargs)
        hidden = functional.gelu(self.conv1(input_features))
        hidden = functional.gelu(self.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = functional.dropout(hidden, p=self.dropout, training=self.training)
        mask = additive(frame_mask, hidden.dtype)
        for layer in self.layers:
            if self.training and self.layerdrop and torch.rand([]) < self.layerdrop:
                continue
            hidden = layer(hidden, mask, **kwargs)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))


class _TiedEmbedding(torch.autograd.Function):
    """The token embedding and the projection onto the vocabulary, which share one weight, as a single operation.

    As two operations, each has a gradient of the size of the vocabulary (the embedding's is nearly all zeros), and their sum
    is a third. Here the embedding's rows are added to the projection's gradient in place, which is safe because nothing else
    holds it.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight for the projection, ``(vocabulary, width)``, and the tokens' embeddings, ``(*tokens.shape, width)``."""
        ctx.save_for_backward(tokens)
        return weight.view_as(weight), functional.embedding(tokens, weight)

    @staticmethod
    def backward(ctx: Any, projection: torch.Tensor, embeddings: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The weight's gradient."""
        (tokens,) = ctx.saved_tensors
        return projection.index_add_(0, tokens.flatten(), embeddings.flatten(0, -2)), None


class WhisperForConditionalGeneration(transformers.WhisperForConditionalGeneration):
    """transformers' model with :class:`WhisperEncoder`.

    ``forward`` and ``generate`` also take the encoder's ``frame_mask``.
    """

    def __init__(self, config: transformers.WhisperConfig):
        super().__init__(config)
        self.model.encoder = WhisperEncoder(config)
        for layer in self.model.decoder.layers:
            layer.encoder_attn.register_forward_pre_hook(_mask_padding, with_kwargs=True)

    @functools.wraps(transformers.WhisperForConditionalGeneration.forward)  # generate() reads the signature
    def forward(  # type: ignore[override]
        self, input_features: Any = None, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        """As in transformers. In training on short input, the same loss for less time and memory, but without logits.

        With short input, the decoder and its vocabulary take a larger part of the step. So only real tokens are projected
        onto the vocabulary, no keys are cached, and the gradient of the vocabulary is one tensor, not a sum of two (see
        :class:`_TiedEmbedding`).

        With ``token_logits=True`` and labels, also outside training, the logits of real tokens are returned as well, in the
        order of ``labels != -100``, shape ``(tokens, vocabulary)``, and the encoder's output. ``label_places``
        are the tokens' indices in the flattened labels; without them they are looked for.
        """
        token_logits, places = kwargs.pop("token_logits", False), kwargs.pop("label_places", None)
        if token_logits and self.model.encoder.is_window(input_features):
            outputs = super().forward(input_features, labels=labels, **kwargs)
            outputs.logits = outputs.logits[labels != IGNORED_LABEL]
            return outputs
        if labels is None or not (self.training or token_logits) or self.model.encoder.is_window(input_features):
            return super().forward(input_features, labels=labels, **kwargs)
        pad, start = self.config.pad_token_id, self.config.decoder_start_token_id
        assert pad is not None and start is not None, "Whisper has both"
        tokens = modeling_whisper.shift_tokens_right(labels, pad, start)
        projection, embeddings = _TiedEmbedding.apply(self.proj_out.weight, tokens)
        outputs = self.model(input_features, decoder_inputs_embeds=embeddings, use_cache=False, **kwargs)
        if places is None:
            places = (labels.flatten() != IGNORED_LABEL).nonzero()[:, 0]
        logits = functional.linear(outputs.last_hidden_state.flatten(0, 1).index_select(0, places), projection)
        loss = functional.cross_entropy(logits, labels.flatten().index_select(0, places))
        if not token_logits:
            return Seq2SeqLMOutput(loss=loss)
        return Seq2SeqLMOutput(loss=loss, logits=logits, encoder_last_hidden_state=outputs.encoder_last_hidden_state)

    def prepare_inputs_for_generation(
        self,
        *args: Any,
        frame_mask: torch.Tensor | None = None,
        age_groups: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As in transformers; its signature makes ``generate`` accept ``frame_mask``, and ``age_groups`` (see
        :mod:`kidasr.model.age_groups`), which it repeats for the beams."""
        inputs = {**super().prepare_inputs_for_generation(*args, **kwargs), "frame_mask": frame_mask}
        return inputs if age_groups is None else {**inputs, AGE_GROUPS: age_groups}

    @staticmethod
    def _get_input_segment(
        input_features: torch.Tensor | None,
        seek: torch.Tensor,
        seek_num_frames: torch.Tensor,
        num_segment_frames: int,
        cur_bsz: int,
        batch_idx_map: list[int],
    ) -> torch.Tensor | None:
        """``generate`` cuts long audio into windows here and pads the last one. Input that fits one window is not padded."""
        if input_features is not None and input_features.shape[-1] <= num_segment_frames:
            return input_features
        return transformers.WhisperForConditionalGeneration._get_input_segment(
            input_features, seek, seek_num_frames, num_segment_frames, cur_bsz, batch_idx_map
        )


def drops_layers(model: torch.nn.Module) -> bool:
    """Whether a model leaves out layers at random in training, so that some weights have no gradient in a step."""
    config = getattr(model, "config", None)
    return any(getattr(config, f"{part}_layerdrop", 0) for part in ("encoder", "decoder"))


def _mask_padding(module: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> Any:
    """Mask the padding in cross-attention. The decoder passes on extra arguments, but not an attention mask."""
    return args, {**kwargs, "attention_mask": additive(kwargs.get("frame_mask"), args[0].dtype)}


def additive(frame_mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """The mask to add to attention scores: shape ``(batch, 1, 1, positions)``, 0 at real positions, very low elsewhere.

    Args:
        frame_mask: Real positions, bool, shape ``(batch, positions)``; or a mask that this function has made.
        dtype: The type of the scores.
    """
    if frame_mask is None or frame_mask.dtype == dtype:
        return frame_mask
    if frame_mask.dtype != torch.bool:
        return frame_mask.to(dtype)
    mask = torch.zeros(frame_mask.shape, dtype=dtype, device=frame_mask.device)
    return mask.masked_fill(~frame_mask, VERY_LOW)[:, None, None, :]
