"""Reading what `torch.save` wrote without running any code of, or named by, the file.

Tensors, arrays, numbers, texts and containers come into being as they are. An object of any other class becomes a
`Record` of its class's name and its state: nothing of the class is imported or called, whatever history or version of
PyG the object has. Names outside `INERT` are refused, although a `Record` of them would do nothing either: who put
them there expected them to act.
"""

from __future__ import annotations

import codecs
import functools
import pickle
import sys
import tarfile
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards.pipeline.compat import rebuilders

# Whose classes may be in a file: they are named, never imported. Plain values and libraries of data, no builtins.
INERT = (
    *("torch_geometric", "torch_sparse", "torch_frame", "pyg_lib", "numpy", "scipy.sparse", "pandas", "pyarrow"),
    *("datetime", "decimal", "fractions", "uuid", "pathlib", "enum", "dataclasses", "zoneinfo"),
    *("torch.nested._internal", "torch.torch_version", "torch.nn.parameter"),
)
BUILTINS = (set, frozenset, bytearray, complex, range, slice, list, dict, tuple, int, float, bool, str, bytes, object)


class RefusedError(pickle.UnpicklingError):
    """A name that is not loaded; `str()` of it is the name."""


class Record:
    """Stands for an object: `path` is its class's full name, `args` what it was made from, `state` what it held."""

    path = "object"

    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any) -> Any:
        made = super().__new__(cls)
        made.args, made.state, made.items = args, None, []
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)

    def __call__(self, *args: Any) -> Any:
        """An object that was pickled as what another one returns."""
        return type(self)(*args)

    @property
    def attributes(self) -> dict[str, Any]:
        """What stood in its `__dict__`."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}


class Array(Record):
    """Stands for a numpy array until its dtype and bytes are known."""

    path = "numpy.ndarray"

    def value(self) -> Any:
        """The array; itself where it holds no plain numbers."""
        try:
            _, shape, dtype, is_fortran, data = self.state
            return np.frombuffer(data, dtype.value()).reshape(shape, order="F" if is_fortran else "C").copy()
        except (TypeError, ValueError, AttributeError):
            return self


class Dtype(Record):
    """Stands for a numpy dtype."""

    path = "numpy.dtype"

    def value(self) -> np.dtype:
        dtype = np.dtype(self.args[0]).newbyteorder(self.state[1] if self.state else "=")
        if dtype.kind not in "biufc":
            raise TypeError("no plain numbers")
        return dtype


class Unpickler(pickle.Unpickler):
    """Knows the names of this module and no others. `torch.load` adds the storages of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        module, name = NAME_MAPPING.get((module, name), (module, name))  # torch saves under the names of Python 2
        module = IMPORT_MAPPING.get(module, module)
        path = f"{module}.{name}"
        known = _known().get(path)
        if known is not None:
            return known
        if not any(module == root or module.startswith(f"{root}.") for root in INERT):
            raise RefusedError(path)
        return type(name.rpartition(".")[2], (Record,), {"path": path})


def load(file: Any, **options: Any) -> Any:
    """What `torch.load` calls for parts of a file of before torch 1.6."""
    return Unpickler(file, **options).load()


def load_saved(path: Path) -> Any:
    """What `torch.save` wrote to `path`, on the CPU; see `Record` for what is no tensor.

    Raises:
        RefusedError: it holds something that is named by the error. Whatever torch raises of a damaged file.
    """
    import torch

    if tarfile.is_tarfile(path):
        raise RefusedError("a tar archive")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
                raise RefusedError("a TorchScript program")
    # weights_only is torch's own list of names, which is one for the whole process and lacks PyG's history
    return torch.load(path, map_location="cpu", pickle_module=sys.modules[__name__], weights_only=False)


class _Call:
    """A function that a file may name: it can be called, and nothing else can be done to it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("a function that is changed")


class _Bytes:
    """Stands for the class of untyped storages, which tensors of newer dtypes are saved in."""

    __slots__ = ()

    @property
    def dtype(self) -> Any:
        import torch

        return torch.uint8


def _tensor_subclass(make: Any, kind: Any, args: Any, state: Any) -> Any:
    """PyG's `EdgeIndex` and `Index` as the tensors in them; any other subclass as the tensor that it began as."""
    if make is not _WRAPPER:
        return make(*args)
    values = state[0] if isinstance(state, tuple) else state
    return values["_data"] if isinstance(values, dict) and "_data" in values else kind(*args)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return np.frombuffer(data, dtype.value())[0]


_WRAPPER = _Call(Record)


@functools.lru_cache(maxsize=1)
def _known() -> dict[str, Any]:
    """Full name -> what stands for it."""
    import torch

    found: dict[str, Any] = {f"builtins.{kind.__name__}": _Call(kind) for kind in BUILTINS}
    found |= {str(value): value for value in vars(torch).values() if isinstance(value, (torch.dtype, torch.qscheme))}
    found |= {name: _Call(function) for name, function in rebuilders().items()}
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found |= {f"{core}.scalar": _Call(_scalar), f"{core}._reconstruct": _Call(lambda *_: Array())}
    functions: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": dict,
        "collections.Counter": dict,
        "collections.defaultdict": lambda *_: {},
        "collections.deque": lambda values=(), *_: list(values),
        "torch.Size": tuple,
        "torch.device": lambda *_: torch.device("cpu"),
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch._tensor._rebuild_from_type_v2": _tensor_subclass,
        "_codecs.encode": lambda text, *_: codecs.latin_1_encode(text)[0],
        "copyreg._reconstructor": lambda kind, *_: kind(),
    }
    found |= {path: _Call(function) for path, function in functions.items()}
    found |= {"torch.storage.UntypedStorage": _Bytes(), "torch._utils._rebuild_wrapper_subclass": _WRAPPER}
    return found | {"numpy.dtype": Dtype}
