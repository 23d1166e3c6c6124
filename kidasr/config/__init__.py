"""Composing a run: its schema, its checks and its command line. Nothing here imports torch."""

from kidasr.config.checks import ConfigError, check_config
from kidasr.config.launch import checked, launch
from kidasr.config.resolvers import register

register()

__all__ = ["ConfigError", "check_config", "checked", "launch"]
