"""The command line: compose a config and run its job. Importing it registers the resolvers, but does not import torch."""

from kidasr.cli.launch import checked, launch
from kidasr.cli.resolvers import register

register()

__all__ = ["checked", "launch"]
