"""What is wrong with a store, one line each."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        where: a file of the store, or a tensor's path.
        what: the problem, as a sentence without a full stop.
        actual: what was found; None where `what` says it all.
        limit: what it must be.
        split: the split concerned, None for what belongs to no split.
        batches: (first, last + 1) of the batches concerned, None for all of them.
    """

    where: str
    what: str
    actual: Any = None
    limit: Any = None
    split: str | None = None
    batches: tuple[int, int] | None = None

    def __str__(self) -> str:
        place = self.where
        if self.batches:
            first, stop = self.batches
            place += f" (split '{self.split}', batch {first}" + (f" to {stop - 1})" if stop > first + 1 else ")")
        parts = [f"{place}: {self.what}"]
        if self.actual is not None:
            parts.append(f"got {self.actual}")
        if self.limit is not None:
            parts.append(f"expected {self.limit}")
        return "; ".join(parts)


@dataclass
class Findings:
    """Collects findings: counts all of them, keeps the first `limit`."""

    limit: int
    count: int = 0
    kept: list[Finding] = field(default_factory=list)

    def add(self, *args: Any, **fields: Any) -> None:
        """Takes the arguments of `Finding`."""
        self.count += 1
        if len(self.kept) < self.limit:
            self.kept.append(Finding(*args, **fields))

    def extend(self, more: "Findings") -> None:
        """Take over what somebody else collected."""
        self.count += more.count
        self.kept += more.kept[: self.limit - len(self.kept)]


@dataclass(frozen=True)
class Verified:
    """What was checked, and what was found.

    Attributes:
        num_findings: all of them; `findings` holds the first ones.
        num_batches: batches whose content was looked at. num_resampled: batches that were sampled anew.
        proven: what a sound store was shown to keep, beside its source.
    """

    path: Path
    fingerprint: str | None
    num_findings: int
    findings: tuple[Finding, ...]
    num_files: int
    num_bytes: int
    num_batches: int
    num_resampled: int
    proven: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        return self.num_findings == 0

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `verify --json`."""
        return {**asdict(self), "path": str(self.path), "is_sound": self.is_sound}

    def lines(self) -> list[str]:
        """A line per finding, and the count."""
        lines = [str(finding) for finding in self.findings]
        if self.num_findings > len(lines):
            lines.append(f"... and {self.num_findings - len(lines)} more")
        checked = f"{self.num_files} files, {self.num_bytes / 2**20:,.1f} MiB, {self.num_batches} batches"
        if self.num_resampled:
            checked += f", {self.num_resampled} of them sampled anew"
        verdict = "sound" if self.is_sound else f"DAMAGED: {self.num_findings} findings;"
        lines += [f"proven   {line}" for line in self.proven]
        return [*lines, f"{verdict:8} {self.path} ({checked})"]
