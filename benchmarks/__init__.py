"""Side-by-side measurements. Results lie in RESULTS.md, dated, with machine and command."""
