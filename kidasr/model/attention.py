"""Attention for half precision on a CPU.

PyTorch's fused attention is slower in bfloat16 than in float32 on a CPU, and up to four times slower than plain matrix
products, which use the CPU's own bfloat16 instructions. Everything else is transformers' ``sdpa``, unchanged.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

#: The name to pass as ``attn_implementation``.
KIDASR = "kidasr"

#: The products hold all scores in memory, in training until the backward pass: at most 32 MB a layer. Beyond that, ``sdpa``.
MAX_SCORES = 2**24


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the arguments of transformers' own; shapes ``(batch, heads, positions, width)``.

    Returns:
        Shape ``(batch, positions, heads, width)``; the weights are not returned.
    """
    batch, heads, queries, width = query.shape
    is_half_on_cpu = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    if not is_half_on_cpu or batch * heads * queries * key.shape[2] > MAX_SCORES:
        rest = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **kwargs}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
    scores = query @ key.transpose(-1, -2)
    if scaling != 1.0:  # Whisper has scaled the query
        scores = scores * (width**-0.5 if scaling is None else scaling)
    is_causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    if attention_mask is None:
        if is_causal and queries > 1:
            later = torch.ones(queries, key.shape[2], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
    elif attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    else:
        scores = scores + attention_mask.to(scores.dtype)
    weights = functional.softmax(scores, dim=-1, dtype=scores.dtype)
    weights = functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(KIDASR, attend)
AttentionMaskInterface.register(KIDASR, sdpa_mask)
