"""Frozen classes of named fields that are fast to define, for the Lambda function and the kernel.

`dataclasses` imports `inspect`, which takes as long as the rest of the function's own imports: 20 ms beside the 45 ms
of ``import json, urllib.request`` where this was measured. A kernel has imported it already, but compiling the methods
of a dataclass takes 1 ms, and two dozen of them delayed the first registered cell by 30 ms. `frozen` takes 30 µs.
It imports `dataclasses` only for `fields`, `asdict` and `replace`. Standard library only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the import of `typing` takes 5 ms
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any, NoReturn, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def frozen(cls: type[T]) -> type[T]:
        """Do what ``dataclasses.dataclass(frozen=True)`` does. Defaults must be immutable."""
        return cls

else:

    def frozen(cls):
        """Do what ``dataclasses.dataclass(frozen=True)`` does. Defaults must be immutable."""
        names = tuple(cls.__annotations__)
        for name, method in _make_methods(
            names, {name: vars(cls)[name] for name in names if name in vars(cls)}
        ).items():
            setattr(cls, name, method)
        cls.__match_args__ = names
        cls.__dataclass_fields__ = _LazyDataclassFields()
        return cls


def _make_methods(names: tuple[str, ...], defaults: dict[str, object]) -> dict[str, object]:
    field_names = frozenset(names)

    def init(self: Any, *values: object, **named_values: object) -> None:
        arguments = dict(zip(names, values, strict=False), **named_values)
        fields = {**defaults, **arguments}
        if fields.keys() != field_names or len(arguments) < len(values) + len(named_values):
            problem = sorted(fields.keys() ^ field_names) or "more values than fields"
            raise TypeError(f"{type(self).__name__}: check {problem}")
        vars(self).update(fields)

    def reject_change(self: Any, name: str, value: object = None) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def key(self: Any) -> tuple[object, ...]:
        return tuple(vars(self)[name] for name in names)

    def is_equal(self: Any, other: object) -> bool:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    def format_repr(self: Any) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in names)})"

    return {
        "__init__": init,
        "__setattr__": reject_change,
        "__delattr__": reject_change,
        "__eq__": is_equal,
        "__hash__": lambda self: hash(key(self)),
        "__repr__": format_repr,
    }


class _LazyDataclassFields:
    """The attribute that `dataclasses` reads from a class, created on first use."""

    def __get__(self, instance: object, owner: Any) -> dict[str, Field[Any]]:
        from dataclasses import make_dataclass

        parts = [
            (name, kind, vars(owner)[name]) if name in vars(owner) else (name, kind)
            for name, kind in owner.__annotations__.items()
        ]
        # Without methods, because compiling them makes a dataclass slow to define.
        twin: Any = make_dataclass(owner.__name__, parts, init=False, repr=False, eq=False, match_args=False)
        owner.__dataclass_fields__ = twin.__dataclass_fields__
        return owner.__dataclass_fields__  # type: ignore[no-any-return]
