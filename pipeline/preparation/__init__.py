"""`prepare`: what is decided first, and the road from there to a store, at once or in the steps of a job array."""
