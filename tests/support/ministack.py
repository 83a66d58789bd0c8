"""The demo's AWS stand-in, in the environment that the tests create."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from cwnotify.demo import aws
from cwnotify.demo.aws import MINISTACK_ENVIRONMENT_DIR, REGION
from tests.support.environments import ROOT

__all__ = ["REGION", "Ministack"]


class Ministack(aws.Ministack):
    """An empty account; a context manager. `folder` holds its log and files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ROOT / MINISTACK_ENVIRONMENT_DIR)

    def __enter__(self) -> Self:
        super().__enter__()
        return self
