"""Where the graph comes from: one `HeteroData`, its seed nodes per split, and words about its origin.

Importing this package does not import torch: `source_stamp` must be able to answer at once.
"""

from heteroshards.pipeline.sources.load import load_dataset, load_stamped
from heteroshards.pipeline.sources.source import SourceGraph, from_data
from heteroshards.pipeline.sources.stamp import source_stamp

__all__ = ["SourceGraph", "from_data", "load_dataset", "load_stamped", "source_stamp"]
