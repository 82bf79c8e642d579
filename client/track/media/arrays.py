"""Arrays of any package as those of NumPy."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["as_array", "numpy"]


def numpy() -> Any:
    """The package, or None where it is not installed."""
    try:
        return import_module("numpy")
    except ImportError:
        return None


def as_array(np: Any, value: Any) -> Any:
    """A NumPy array of a tensor (on any device, with or without a gradient), an array or nested sequences.

    Args:
        np: the package.
        value: what there is.
    """
    if callable(getattr(value, "detach", None)):
        value = value.detach().cpu()
        if not value.is_complex() and value.is_floating_point():
            value = value.double()  # NumPy has no bfloat16
        value = value.numpy()
    return np.asarray(value)
