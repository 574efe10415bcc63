"""The note beside stores."""

import json

import pytest

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.latest import Latest, latest_path, read_latest


def test_a_note_is_read_as_it_was_written(tmp_path):
    note = Latest(store="job-1", content_digest="abc", fingerprint="f", stamp={"kind": "file", "size": 3})
    path = latest_path(JobConfig(name="job", store={"root": str(tmp_path)}))
    assert path == tmp_path / "job.latest" and read_latest(path) is None
    path.write_text(note.model_dump_json())
    assert read_latest(path) == note


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{", '{"store": "s"}', '{"content_digest": "d"}', "[" * 100000]
    + [json.dumps({"store": name, "content_digest": "d"}) for name in ("", "..", "a/b", "/etc", "a\\b", "x\0", 7)],
)
def test_what_is_no_note_is_an_error(tmp_path, text):
    """Neither half a note, nor one that leads out of its folder."""
    (tmp_path / "job.latest").write_text(text)
    with pytest.raises(StoreError, match=r"job\.latest"):
        read_latest(tmp_path / "job.latest")
