"""The components of a Whisper model, and how many of their parameters are trained."""

from transformers import WhisperForConditionalGeneration

from kidasr.features.recogniser import Component


def components(model: WhisperForConditionalGeneration) -> list[Component]:
    """The encoder, its positional table, the decoder, its positional table, and the token embedding (tied to the output)."""
    names = {
        "model.encoder.embed_positions.": "encoder positions",
        "model.encoder.": "encoder",
        "model.decoder.embed_positions.": "decoder positions",
        "model.decoder.embed_tokens.": "token embedding (tied to the output)",
        "model.decoder.": "decoder",
    }
    totals = {name: [0, 0] for name in names.values()}
    for name, parameter in model.named_parameters():
        component = next((label for prefix, label in names.items() if name.startswith(prefix)), "output")
        total = totals.setdefault(component, [0, 0])
        total[0] += parameter.numel()
        total[1] += parameter.numel() * parameter.requires_grad
    return [Component(name, *total) for name, total in totals.items() if total[0]]
