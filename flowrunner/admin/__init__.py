"""The HTTP side of a running process: health, metrics, the API and the live page."""
