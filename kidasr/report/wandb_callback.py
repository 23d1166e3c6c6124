"""Logging to Weights & Biases while the Trainer runs."""

from collections.abc import Mapping
from typing import Any

from transformers.integrations import WandbCallback

from kidasr.report.loggers import WandbLogger, outlived


class WandbRunCallback(WandbCallback):
    """transformers' own, which would put the Trainer's flat arguments over the run's config where names are the same."""

    def __init__(self, logger: WandbLogger, config: Mapping[str, Any]):
        super().__init__()
        self._logger, self._config = logger, dict(config)

    def on_log(self, *arguments: Any, **options: Any) -> None:
        with outlived(self._logger):
            super().on_log(*arguments, **options)

    def on_train_end(self, *arguments: Any, **options: Any) -> None:
        with outlived(self._logger):
            super().on_train_end(*arguments, **options)

    def setup(self, args: Any, state: Any, model: Any, **kwargs: Any) -> None:
        super().setup(args, state, model, **kwargs)
        self._wandb.config.update(self._config, allow_val_change=True)
