"""The graph that is sampled: checked arrays, in-neighbors in CSC form, what of it can be reached."""
