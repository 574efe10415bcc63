"""Several attributes and codes on the double: int32, static shapes, nothing empty."""

import pytest

from tests.trainer.poptorch_backend.cases import MODELS, check_call_by_call


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_weights_follow_plain_pytorch(store_of, tmp_path, poptorch, name):
    check_call_by_call(store_of(chunk_batches=4, is_rich=True), tmp_path, name, num_calls=2)
