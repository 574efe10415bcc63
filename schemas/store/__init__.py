"""The bytes of a store: where they lie, whether they are those that were written, and what they hold."""
