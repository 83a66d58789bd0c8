"""The text of a value in an alert, for ``--show``, `note` and ``show=``."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.runs.value_format import MAX_VALUE_TEXT, format_value


class Tensor:
    """Like a PyTorch tensor: its shape is a tuple, and `item` returns its only number."""

    def __init__(self, value: float, *shape: int) -> None:
        self.value, self.shape, self.ndim = value, shape, len(shape)

    def item(self) -> float:
        if any(length != 1 for length in self.shape):
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.value

    def __str__(self) -> str:
        return "tensor(...)"


class EagerTensor:
    """Like a TensorFlow tensor: only its NumPy array has `item`."""

    shape = ()

    def numpy(self) -> numpy.ndarray[Any, Any]:
        return numpy.array(0.25)


class MetaTensor(Tensor):
    """A tensor without data."""

    def item(self) -> float:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")


class Phase(enum.Enum):
    TRAIN = "train"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (1 / 7, "0.142857"),
        (1e-5, "1e-05"),
        (-0.0, "0"),
        (123456.7, "123457"),
        (1234567.891, "1234568"),
        (12345678.0, "12345678"),
        (1e15, "1000000000000000"),
        (1e16, "1e+16"),
        (-2.5e7, "-25000000"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (199_999, "199999"),
        (10**20, "100000000000000000000"),
        (10**5000, "1e+5000"),
        (True, "True"),
        (None, "None"),
        (1 + 0.5j, "1+0.5j"),
        ("a 'b'", "a 'b'"),
        (numpy.float32(0.1), "0.1"),
        (numpy.float64(1 / 3), "0.333333"),
        (numpy.longdouble(1) / 3, "0.333333"),
        (numpy.int64(5), "5"),
        (numpy.bool_(True), "True"),
        (numpy.array(0.25), "0.25"),
        (numpy.array([[0.25]]), "0.25"),
        (numpy.array([1.0, 2.0]), "[1. 2.]"),
        (numpy.array([]), "[]"),
        (numpy.array("x"), "x"),
        (numpy.str_("x"), "x"),
        (Tensor(0.1), "0.1"),
        (Tensor(3, 1, 1), "3"),
        (Tensor(3, 2), "tensor(...)"),
        (MetaTensor(3), "tensor(...)"),
        (EagerTensor(), "0.25"),
        (decimal.Decimal("12.50"), "12.50"),
        (decimal.Decimal(1) / 3, "0.333333"),
        (decimal.Decimal("nan"), "NaN"),
        (fractions.Fraction(1, 3), "1/3"),
        ({"acc": numpy.float64(0.9), "top": [numpy.float32(0.1), "a"]}, "{'acc': 0.9, 'top': [0.1, 'a']}"),
        ((1.0,), "(1,)"),
        (set(), "set()"),
        (frozenset([0.5]), "frozenset({0.5})"),
        (Phase.TRAIN, "Phase.TRAIN"),
        (datetime.timedelta(seconds=90), "0:01:30"),
        (Path("/data"), "/data"),
        (b"x", "b'x'"),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_value_has_the_expected_text(value: object, text: str) -> None:
    assert format_value(value) == text


def test_list_that_contains_itself_is_cut() -> None:
    items: list[object] = [1]
    items.append(items)

    assert format_value(items).startswith("[1, [1, ")


@given(st.one_of(st.floats(), st.integers(), st.decimals(allow_nan=True), st.complex_numbers(), st.text()))
def test_any_number_has_a_short_text(value: object) -> None:
    if isinstance(value, decimal.Decimal) and value.is_snan():
        return

    assert len(format_value(value)) <= (MAX_VALUE_TEXT + 1 if isinstance(value, str) else 90)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_of_a_float_is_close_to_its_value(value: float) -> None:
    assert float(format_value(value)) == pytest.approx(value, rel=1e-5)
