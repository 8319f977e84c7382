"""A network as channels and as a graph of its parameters."""
