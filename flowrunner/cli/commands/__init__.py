"""What each command is called, its options and its help. Imports nothing heavy: the work stands in `flowrunner.cli`."""
