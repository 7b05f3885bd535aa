"""Messages on disk between the flow and a sink that may be down."""
