"""One fault a function: every module of this folder is found by itself."""
