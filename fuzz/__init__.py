"""Fuzzing of what comes from outside: `make fuzz SECONDS=60`. The suite replays the corpus."""
