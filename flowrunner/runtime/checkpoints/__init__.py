"""The cut through a running flow, the file it is kept in, and the way back to it."""
