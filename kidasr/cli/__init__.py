"""The command line: composing a config and running its job. Importing it registers the resolvers; torch is not imported."""

from kidasr.cli.launch import checked, launch
from kidasr.cli.resolvers import register

register()

__all__ = ["checked", "launch"]
