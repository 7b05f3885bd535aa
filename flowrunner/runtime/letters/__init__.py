"""Messages that could not be processed: how they are kept, shown, and tried again."""
