"""What is said about a graph when it is prepared, and kept in the manifest."""

import re
from typing import Literal, Optional

from pydantic import field_validator

from heteroshards.schemas.base import Frozen

NoteCode = Literal[
    "read",  # what was taken from the source
    "reshaped",  # taken in another shape than it had
    "codes",  # integers that are taken as codes
    "not_read",  # an attribute that is there and was left
    "featureless",  # a type without features
    "features_elsewhere",  # ... whose features seem to have another name
    "rounded",  # float32 is another number
    "indistinct",  # different numbers of a column that are one float32 number
    "not_finite",  # NaN or infinite values stand or were replaced
    "many_classes",  # more classes than nodes with a label
    "unlabelled",  # nodes without a label
    "unused_classes",  # classes that no seed has: a value that stands for "none"?
    "not_in_train",  # classes that only other splits have
    "one_sided",  # a yes-or-no label that is the same for all seeds of a split
    "isolated_seeds",  # seeds that no edge leads to
    "no_edges",  # no batch can have any edge
    "unreachable",  # types that no batch can reach
    "unreached",  # types that no batch has
]
NoteLevel = Literal["note", "warning"]


class Note(Frozen):
    """One line about the graph.

    Attributes:
        code: what kind of thing is said.
        level: a `warning` is about something that may be other than it was meant.
        concerns: the type concerned, "node type 'paper'" for example, or several of them; None: the graph.
        message: the rest of the line, without a full stop.
    """

    code: NoteCode
    level: NoteLevel = "warning"
    concerns: Optional[str] = None
    message: str

    @field_validator("concerns", "message")
    @classmethod
    def _keep_to_a_line(cls, text: Optional[str]) -> Optional[str]:
        """Names come from the data, and may hold anything."""
        return text and re.sub(r"[\x00-\x1f]", lambda found: repr(found.group())[1:-1], text)

    @property
    def line(self) -> str:
        """As it is printed."""
        place = f"{self.concerns}: " if self.concerns else ""
        return f"{self.level}: {place}{self.message}"
