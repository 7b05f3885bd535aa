"""Something to look at without setting anything up: a broker, a simulated home, and a flow that reads it."""
