"""Random damage and random graphs, as many as there is time for: `python -m tests.fuzz.<module> --cases N --seed S`."""
