"""``python -m flowrunner``: the same as the command ``flowrunner``."""

from flowrunner.cli.main import main

main()
