"""Traces of what happens to batches of messages: sampled, followed from source to sink, and exported."""
