"""Frozen classes of named fields, for what the Lambda function and the kernel import. Standard library only.

`dataclasses` imports `inspect`, and that takes about as long as all the rest of the Lambda function's own import: on
the machine this was measured on, 20 ms beside the 45 ms of ``import json, urllib.request``. A kernel has imported it
already, but each dataclass compiles its methods anew, in about 1 ms: with two dozen of them the first registered cell
began 30 ms later. `frozen` gives the part of it that events need, in 30 µs, and turns to `dataclasses` only when
somebody asks for its ways (`fields`, `asdict`, `replace`).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, whose import alone takes 5 ms
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any, NoReturn, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def frozen(cls: type[T]) -> type[T]:
        """Make `cls` what ``dataclasses.dataclass(frozen=True)`` would; defaults have to be immutable."""
        return cls

else:

    def frozen(cls):
        """Make `cls` what ``dataclasses.dataclass(frozen=True)`` would; defaults have to be immutable."""
        names = tuple(cls.__annotations__)
        for name, method in _methods(names, {name: vars(cls)[name] for name in names if name in vars(cls)}).items():
            setattr(cls, name, method)
        cls.__match_args__ = names
        cls.__dataclass_fields__ = _Fields()
        return cls


def _methods(names: tuple[str, ...], defaults: dict[str, object]) -> dict[str, object]:
    known = frozenset(names)

    def init(self: Any, *values: object, **named: object) -> None:
        given = dict(zip(names, values, strict=False), **named)
        fields = {**defaults, **given}
        if fields.keys() != known or len(given) < len(values) + len(named):
            wrong = sorted(fields.keys() ^ known) or "more values than fields"
            raise TypeError(f"{type(self).__name__}: check {wrong}")
        vars(self).update(fields)

    def refuse(self: Any, name: str, value: object = None) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def key(self: Any) -> tuple[object, ...]:
        return tuple(vars(self)[name] for name in names)

    def equal(self: Any, other: object) -> bool:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    def show(self: Any) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in names)})"

    return {
        "__init__": init,
        "__setattr__": refuse,
        "__delattr__": refuse,
        "__eq__": equal,
        "__hash__": lambda self: hash(key(self)),
        "__repr__": show,
    }


class _Fields:
    """What `dataclasses` looks for on a class, made when it first looks."""

    def __get__(self, instance: object, owner: Any) -> dict[str, Field[Any]]:
        from dataclasses import make_dataclass

        parts = [
            (name, kind, vars(owner)[name]) if name in vars(owner) else (name, kind)
            for name, kind in owner.__annotations__.items()
        ]
        # Without methods: to compile those is what makes a dataclass slow to define.
        made: Any = make_dataclass(owner.__name__, parts, init=False, repr=False, eq=False, match_args=False)
        owner.__dataclass_fields__ = made.__dataclass_fields__
        return owner.__dataclass_fields__  # type: ignore[no-any-return]
