"""`verify`: is every byte of a store the one that was written, and does what is written keep its promises?"""

from pipeline.verify.findings import Finding, Verified
from pipeline.verify.job import verify

__all__ = ["Finding", "Verified", "verify"]
