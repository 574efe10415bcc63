"""`plan`: what prepare would write, and what other choices would make of it."""
