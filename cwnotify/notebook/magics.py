"""``%%notify_on_finish``, ``%notify_all`` and ``%cwnotify``: parse, call, show. No logic."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.utils.text import DollarFormatter
from traitlets import Unicode

from cwnotify.console import warn
from cwnotify.notebook.cell_hooks import CellHooks, warn_ignored_options

if TYPE_CHECKING:
    from argparse import ArgumentParser

# Time enough for the answer to `%load_ext` to be on its way.
PRELOAD_DELAY = 0.05
CLI_SUBCOMMANDS = ("login", "test", "outbox", "config", "doctor")
MAGIC_SUBCOMMANDS = ("panel", *CLI_SUBCOMMANDS)


def _documented(make: Callable[[], str]) -> Callable[[Any], Any]:
    """Let ``?`` show what `make` gives, when it is asked: IPython looks for a `getdoc` before ``__doc__``."""

    def decorate(magic: Any) -> Any:
        magic.getdoc = make
        return magic

    return decorate


def _cell_parser() -> ArgumentParser:
    from cwnotify.notebook.arguments import notify_on_finish_parser

    return notify_on_finish_parser()


def _all_parser() -> ArgumentParser:
    from cwnotify.notebook.arguments import notify_all_parser

    return notify_all_parser()


def _panel_help() -> str:
    from cwnotify.view.options import panel_parser

    return panel_parser().format_help()


def _cwnotify_help() -> str:
    return f"{inspect.cleandoc(CWNotify.cwnotify.__doc__ or '')}\n\n{_panel_help()}"


@magics_class
class CWNotify(Magics):
    """The magics; its traits are what ``%config CWNotify`` sets.

    Where alerts go is not among them, for a notebook may be a stranger's.
    """

    lang = Unicode("", help="the alerts' language: en or ko").tag(config=True)
    mention = Unicode("", help="who is pinged: @here, @channel, a member (U…) or a user group (S…)").tag(config=True)
    min_seconds = Unicode("", help="tell only of runs of at least this length: 90s, 5m, 1h30m").tag(config=True)
    zone = Unicode("", help="time zone of the times in alerts, such as Asia/Seoul").tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._shell = shell
        self._own = tuple(self.class_own_traits())
        self.cell_hooks = CellHooks(shell, self.overrides)

    def overrides(self) -> dict[str, str]:
        """What ``%config CWNotify`` sets, by the names of the settings."""
        return {name: getattr(self, name) for name in self._own}

    @_documented(lambda: _cell_parser().format_help())
    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def notify_on_finish(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        """Tell Slack when this cell ends, however it ends."""
        if cell is None:
            return self._statement(line, local_ns)
        # A cell that begins with the header never comes here: only a call of the magic by its name does.
        execution = self.cell_hooks.begin_statement(self.cell_hooks.parse_header_arguments(line))
        error: BaseException | None = None
        try:
            result = self._shell.run_cell(cell, store_history=False)
            error = result.error_before_exec or result.error_in_exec
            result.raise_error()
        finally:
            self.cell_hooks.end_statement(execution, error)

    def _statement(self, line: str, local_ns: dict[str, Any] | None) -> Any:
        """Run one statement, and give its value where it has one."""
        from IPython.core import error as ipython

        from cwnotify.errors import UsageError
        from cwnotify.notebook.arguments import parse_statement_arguments

        try:
            asked, statement = parse_statement_arguments(line)
        except UsageError as error:
            # Where the statement begins cannot be known, so it cannot run; IPython shows this kind in one line.
            raise ipython.UsageError(str(error)) from None
        if not statement:
            raise ipython.UsageError("there is no statement to run; for a whole cell write two %: %%notify_on_finish")
        warn_ignored_options(asked)
        names = self._shell.user_ns if local_ns is None else local_ns
        code = self._shell.transform_cell(statement)
        execution = self.cell_hooks.begin_statement(asked)
        failed: BaseException | None = None
        try:
            return self._run(code, names)
        except BaseException as error:
            failed = error
            if isinstance(error, NameError) and statement.strip() == error.name:
                warn(f"to tell of a whole cell, write two %: %%notify_on_finish {error.name}")
            raise
        finally:
            self.cell_hooks.end_statement(execution, failed, names)

    def _run(self, code: str, names: dict[str, Any]) -> Any:
        """Run a statement as ``%time`` does, with the local names of the caller."""
        shell = self._shell
        try:
            compiled = compile(code.strip(), "<notify_on_finish>", "eval")
        except SyntaxError:
            exec(compile(code, "<notify_on_finish>", "exec"), shell.user_global_ns, names)
            return None
        return eval(compiled, shell.user_global_ns, names)

    @line_magic("%notify_on_finish")  # type: ignore[arg-type]  # IPython types it for a name alone
    def _too_late(self, line: str) -> None:
        """What IPython looks for where ``%%notify_on_finish`` stands below a cell's first line."""
        from IPython.core import error as ipython

        raise ipython.UsageError("%%notify_on_finish belongs on the first line of its cell, above comments too")

    @_documented(lambda: _all_parser().format_help())
    @line_magic
    def notify_all(self, line: str) -> None:
        """Tell Slack of every cell that takes long, without registering it."""
        from cwnotify import settings
        from cwnotify.errors import UsageError
        from cwnotify.notebook.arguments import MagicArguments, apply_default_min_seconds, parse_notify_all_arguments

        try:
            asked = parse_notify_all_arguments(line)
        except UsageError as error:
            warn(str(error))
            return
        found, _ = settings.load_settings(overrides=self.overrides())
        if asked is not None and asked.problems:
            warn("\n".join((*asked.problems, "Cells that take long are reported all the same, without these options.")))
        self.cell_hooks.notify_all_arguments = (
            None if asked is None else MagicArguments("", apply_default_min_seconds(asked.options, found.min_seconds))
        )

    @_documented(_cwnotify_help)
    @no_var_expand
    @needs_local_scope
    @line_magic
    def cwnotify(self, line: str, local_ns: dict[str, Any] | None = None) -> None:
        """Show the panel, set up and look after cwnotify.

        %cwnotify           the panel: CPU, alarms and runs, live, while cells run
        %cwnotify panel     the same, and as you choose: see below
        %cwnotify login     ask for the Slack webhook, without echo; test it; keep it
        %cwnotify test      send a greeting
        %cwnotify outbox    what waits, what could not be delivered and why
        %cwnotify config    each setting, and where it comes from
        %cwnotify doctor    what is well, what is wrong, and what to do about it
        """
        word, _, rest = line.strip().partition(" ")
        if word == "arm":
            # A cell's header: its `{}` are the user's, for after the cell.
            self.cell_hooks.register_current_cell(rest)
            return
        line = self._expand(line, local_ns)
        word, _, rest = line.strip().partition(" ")
        if word in CLI_SUBCOMMANDS:
            from cwnotify.notebook.cli_bridge import run_cli_command

            run_cli_command(word, rest)
        elif word in ("help", "-h", "--help"):
            print(_cwnotify_help(), end="")
        elif word in ("", "panel") or word.startswith("--"):
            self._panel(rest if word == "panel" else line)
        else:
            from cwnotify.suggestions import closest_match

            near = closest_match(word, MAGIC_SUBCOMMANDS)
            known = f"it takes {', '.join(MAGIC_SUBCOMMANDS)}, or nothing; all other commands are for a terminal: cwnotify --help"
            hint = f"did you mean %cwnotify {near}?" if near else known
            warn(f"%cwnotify does not know {word!r}; {hint}")

    def _expand(self, line: str, local_ns: dict[str, Any] | None) -> str:
        """Put values in place of ``{name}`` and ``$name``, as IPython does for its own magics."""
        try:
            return DollarFormatter().vformat(line, args=[], kwargs={**self._shell.user_ns, **(local_ns or {})})
        except Exception:
            return line

    def _panel(self, line: str) -> None:
        from cwnotify.errors import UsageError
        from cwnotify.notebook.panel import panel
        from cwnotify.view.options import parse_panel_arguments

        if not {"-h", "--help"}.isdisjoint(line.split()):
            print(_panel_help(), end="")
            return
        try:
            panel(**parse_panel_arguments(line))
        except UsageError as error:
            warn(str(error))


def _complete(shell: InteractiveShell, event: Any) -> list[str]:
    """What may follow ``%cwnotify``, for the Tab key."""
    before = event.text_until_cursor.removesuffix(event.symbol).split()
    if len(before) > 1 and before[1] in CLI_SUBCOMMANDS:
        return []
    options: list[str] = re.findall("--[a-z-]+", _panel_help().partition("\n\n")[0])
    return options if len(before) > 1 else [*MAGIC_SUBCOMMANDS, *options]


def _completer(make: Callable[[], ArgumentParser]) -> Callable[[InteractiveShell, Any], list[str]]:
    """For the Tab key: the options of a parser, and after one that takes one of several words, these words."""

    def complete(shell: InteractiveShell, event: Any) -> list[str]:
        # IPython hands us the line so far, and what of its last word was typed.
        before = event.line[: len(event.line) - len(event.symbol)].split()[-1:]
        options = {option: action for action in make()._actions for option in action.option_strings}
        metavar = options[before[0]].metavar if before and before[0] in options else None
        return metavar.split("|") if isinstance(metavar, str) and "|" in metavar else list(options)

    return complete


_COMPLETERS = {
    "%cwnotify": _complete,
    "%notify_on_finish": _completer(_cell_parser),
    "%%notify_on_finish": _completer(_cell_parser),
    "%notify_all": _completer(_all_parser),
}


def register_extension(shell: InteractiveShell) -> None:
    """Register the magics, `%config CWNotify` and the hooks; once, however often it is called."""
    if _loaded(shell):
        return
    magics = CWNotify(shell)
    shell.register_magics(magics)
    magics.cell_hooks.attach()
    _prepare_when_idle(magics)
    for magic, complete in _COMPLETERS.items():
        shell.set_hook("complete_command", complete, str_key=magic)


def _prepare_when_idle(magics: CWNotify) -> None:
    """Let a kernel that has nothing to do import and read what its first registered cell needs, which then is faster.

    In the kernel's own loop and thread, so never beside a cell. Elsewhere that cell imports for itself.
    """
    import asyncio

    try:
        asyncio.get_running_loop().call_later(PRELOAD_DELAY, _prepare, magics)
    except RuntimeError:
        return


def _prepare(magics: CWNotify) -> None:
    try:
        import cwnotify.notebook.show_option
        import cwnotify.runs.deadline
        import cwnotify.runs.exceptions
        import cwnotify.runs.recorder  # noqa: F401 (these only have to be there)
        from cwnotify import settings
        from cwnotify.notebook.arguments import notify_on_finish_parser

        notify_on_finish_parser()
        settings.load_settings(overrides=magics.overrides())
    except Exception:
        # A cell that needs them says what is wrong with them.
        return


def unregister_extension(shell: InteractiveShell) -> None:
    """Take out all that `register_extension` put in."""
    magics = _loaded(shell)
    if magics is None:
        return
    magics.cell_hooks.detach()
    # Only a panel that was opened has to be closed: what it needs is not imported for that.
    if panels := sys.modules.get("cwnotify.notebook.live_panel"):
        panels.close_all()
    for kind, names in CWNotify.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.magics_manager.registry.pop("CWNotify", None)
    for magic in _COMPLETERS:
        shell.strdispatchers["complete_command"].strs.pop(magic, None)
    shell.configurables[:] = [one for one in shell.configurables if type(one).__name__ != "CWNotify"]


def _loaded(shell: InteractiveShell) -> CWNotify | None:
    """Found by name: a reload makes a new class, and the old one's instance is still there."""
    found: CWNotify | None = shell.magics_manager.registry.get("CWNotify")
    return found
