"""Flows as graphs: nodes in order, the wires between them, and what is wrong with either."""
