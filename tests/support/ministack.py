"""AWS on this machine: the demo's, from the environment that the tests make."""

from __future__ import annotations

from pathlib import Path

from cwnotify.demo import aws
from cwnotify.demo.aws import MINISTACK_ENVIRONMENT_DIR, REGION
from tests.support.environments import ROOT

__all__ = ["REGION", "Ministack"]


class Ministack(aws.Ministack):
    """An empty account; a context manager. Its log and its files are put into `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ROOT / MINISTACK_ENVIRONMENT_DIR)
