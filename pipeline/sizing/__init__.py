"""How large batches get: counting, budgets, how certain those are, and classes of shapes."""
