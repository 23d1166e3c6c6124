"""Schema and checks of a config. Nothing here imports torch."""

from kidasr.config.checks import ConfigError, check_config

__all__ = ["ConfigError", "check_config"]
