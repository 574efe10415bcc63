"""`verify`: is every byte of a store the one that was written, and does what is written keep its promises?"""

from heteroshards.pipeline.verify.findings import Finding, Verified
from heteroshards.pipeline.verify.job import verify

__all__ = ["Finding", "Verified", "verify"]
