"""Logging to Weights & Biases during training."""

from collections.abc import Mapping
from typing import Any

from transformers.integrations import WandbCallback

from kidasr.report.loggers import WandbLogger, outlived


class WandbRunCallback(WandbCallback):
    """transformers' callback, kept from overwriting keys of the run's config with Trainer arguments of the same name."""

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
        with outlived(self._logger):
            super().setup(args, state, model, **kwargs)
            self._wandb.config.update(self._config, allow_val_change=True)
