"""The double of PopTorch: errors.

It rejects what the host rules forbid and accepts the legal twin. Numbers in parentheses are those of the facts about
PopTorch that each test holds the double to.
"""

import sys
from typing import Any

import pytest

from tests.poptorch_double import installed
from tests.trainer.poptorch_double.nets import Net, batch


@pytest.mark.parametrize("at", ["execute", "compile", "attach"])
def test_injected_failures(pop: Any, at: str) -> None:
    """(73, 74, 76)"""
    executor = pop.trainingModel(Net())
    pop.double.fail_next(pop.RecoverableError, "link down", "poplar_link_error", "tile", "LINK_RESET", at=at)
    with pytest.raises(pop.RecoverableError, match="link down") as caught:
        executor(*batch())
    assert caught.value.recovery_action == "LINK_RESET" and isinstance(caught.value, pop.Error)
    assert (caught.value.type, caught.value.location) == ("poplar_link_error", "tile")
    pop.double.fail_next(pop.RecoverableError, "again", recovery_action="IPU_RESET", at=at)
    assert caught.value.recovery_action == "LINK_RESET"
    executor.isCompiled() and executor.isAttachedToDevice() and executor.detachFromDevice()
    executor.destroy()
    with pytest.raises(pop.RecoverableError):
        executor(*batch())
    assert caught.value.recovery_action == "IPU_RESET"  # kept on the class: read it at once
    executor(*batch())


def test_errors_of_the_python_layer_describe_themselves(pop: Any) -> None:
    """(73, 74)"""
    with pytest.raises(pop.Error) as caught:
        pop.inferenceModel(Net())(batch()[0])
    assert "message" in vars(caught.value) and caught.value.type == "poptorch_py_error"
    with pytest.raises(pop.UnrecoverableError):
        pop.double.fail_next(pop.UnrecoverableError, "dead")
        pop.inferenceModel(Net())(*batch())


def test_nothing_of_the_double_stays_behind() -> None:
    before = list(sys.path), {name for name in sys.modules if name.startswith("poptorch")}
    with pytest.raises(KeyError), installed() as poptorch:
        assert sys.modules["poptorch"] is poptorch and poptorch.__version__.endswith("double")
        raise KeyError
    assert before == (sys.path, {name for name in sys.modules if name.startswith("poptorch")})
