"""What is predicted, read from attributes of the seed type. A new kind is a file here and a line in `read`."""
