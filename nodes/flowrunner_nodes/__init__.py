"""The node types that come with flowrunner, one file a type."""
