"""How large batches get: counting, budgets, who shares one, how certain they are, classes of shapes, and what fits."""
