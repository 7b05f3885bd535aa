"""Other programs' configuration, read and written anew as flows. Text in, text out: no node type is needed for it."""
