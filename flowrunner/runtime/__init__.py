"""From a checked graph to running tasks: journal, pump, stages, channels, sinks, checkpoints, reload."""
