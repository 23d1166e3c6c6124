"""What a config may hold: its schema and its checks. Nothing here imports torch."""

from kidasr.config.checks import ConfigError, check_config

__all__ = ["ConfigError", "check_config"]
