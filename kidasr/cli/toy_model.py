"""A warning before the toy model of the repository is trained on a corpus of one's own, which nobody means."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from kidasr.cli.resolvers import EMBEDDED


def toy_model_warning(cfg: DictConfig, overrides: Iterable[str]) -> str | None:
    """The warning, if the data are the user's and the model is the default, which nobody has chosen; otherwise None.

    Args:
        cfg: The config of a run.
        overrides: What was typed for it.
    """
    if "trainer" not in (cfg.get("job") or {}):
        return None
    model, train = (OmegaConf.select(cfg, key, default=None) for key in ("model.name_or_path", "data.train"))
    keys = {one.lstrip("+").partition("=")[0] for one in overrides}
    was_chosen = any(key == "model" or key.startswith("model.") for key in keys)
    if was_chosen or not (model and train) or not is_embedded(model) or is_embedded(train):
        return None
    return (
        f"no model= was given, so the toy model of the repository (micro: a million parameters, recordings up to 3 seconds) "
        f"is trained on {train}. To fine-tune a Whisper: model=whisper model.name_or_path=openai/whisper-small "
        "(or a folder); model=micro if the toy is meant"
    )


def is_embedded(path: str) -> bool:
    """Whether a model or a manifest is one of the repository."""
    return Path(path).is_relative_to(EMBEDDED)
