"""``%%notify_on_finish``, ``%notify_all`` and ``%cwnotify``. Each parses its line, calls, and shows the result."""

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
from traitlets import Unicode

from cwnotify.console import warn
from cwnotify.notebook.cell_hooks import REGISTER_CELL_MAGIC, CellHooks, warn_ignored_options

if TYPE_CHECKING:
    from argparse import ArgumentParser

# In seconds. Lets the reply to `%load_ext` go out first.
PRELOAD_DELAY = 0.05
CLI_SUBCOMMANDS = ("login", "test", "outbox", "config", "doctor")
MAGIC_SUBCOMMANDS = ("panel", *CLI_SUBCOMMANDS)


def _set_help(make_help: Callable[[], str]) -> Callable[[Any], Any]:
    """Let ``?`` show what `make_help` returns. IPython prefers `getdoc` to ``__doc__``, and calls it only then."""

    def decorate(magic: Any) -> Any:
        magic.getdoc = make_help
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
    """The magics. Their traits are the settings of ``%config CWNotify``.

    The destination of alerts is not one of them, because a notebook may come from another person.
    """

    lang = Unicode("", help="language of alerts: en or ko").tag(config=True)
    mention = Unicode("", help="whom to ping: @here, @channel, a member (U…) or a user group (S…)").tag(config=True)
    min_seconds = Unicode("", help="notify only if the run took at least this long: 90s, 5m, 1h30m").tag(config=True)
    zone = Unicode("", help="time zone of the times in alerts, such as Asia/Seoul").tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._shell = shell
        self._setting_names = tuple(self.class_own_traits())
        self.cell_hooks = CellHooks(shell, self.overrides)

    def overrides(self) -> dict[str, str]:
        """Return the values of ``%config CWNotify`` by setting."""
        return {name: getattr(self, name) for name in self._setting_names}

    @_set_help(lambda: _cell_parser().format_help())
    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def notify_on_finish(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        """Send a Slack alert when this cell ends, however it ends."""
        if cell is None:
            return self._notify_on_statement(line, local_ns)
        # Only a call by name gets here: the input transformer handles cells that begin with the header.
        execution = self.cell_hooks.begin_statement(self.cell_hooks.parse_header_arguments(line))
        error: BaseException | None = None
        try:
            result = self._shell.run_cell(cell, store_history=False)
            error = result.error_before_exec or result.error_in_exec
            result.raise_error()
        finally:
            self.cell_hooks.end_statement(execution, error)

    def _notify_on_statement(self, line: str, local_ns: dict[str, Any] | None) -> Any:
        """Run one statement and return its value, if it has one."""
        from IPython.core import error as ipython

        from cwnotify.errors import UsageError
        from cwnotify.notebook.arguments import parse_statement_arguments

        try:
            arguments, statement = parse_statement_arguments(line)
        except UsageError as error:
            # The start of the statement is unknown, so it cannot run. IPython shows its own UsageError in one line.
            raise ipython.UsageError(str(error)) from None
        if not statement:
            raise ipython.UsageError("there is no statement to run; for a whole cell write two %: %%notify_on_finish")
        warn_ignored_options(arguments)
        names = self._shell.user_ns if local_ns is None else local_ns
        code = self._shell.transform_cell(statement)
        execution = self.cell_hooks.begin_statement(arguments)
        failure: BaseException | None = None
        try:
            return self._run_statement(code, names)
        except BaseException as error:
            failure = error
            if isinstance(error, NameError) and statement.strip() == error.name:
                warn(f"to send an alert for a whole cell, write two %: %%notify_on_finish {error.name}")
            raise
        finally:
            self.cell_hooks.end_statement(execution, failure, names)

    def _run_statement(self, code: str, names: dict[str, Any]) -> Any:
        """Run a statement with the caller's local names, as ``%time`` does."""
        shell = self._shell
        try:
            compiled = compile(code.strip(), "<notify_on_finish>", "eval")
        except SyntaxError:
            exec(compile(code, "<notify_on_finish>", "exec"), shell.user_global_ns, names)
            return None
        return eval(compiled, shell.user_global_ns, names)

    @line_magic("%notify_on_finish")  # type: ignore[arg-type]  # IPython's annotation allows only a function
    def _reject_late_header(self, line: str) -> None:
        """Reject a ``%%notify_on_finish`` below the first line of its cell."""
        from IPython.core import error as ipython

        raise ipython.UsageError("%%notify_on_finish belongs on the first line of its cell, above comments too")

    @line_magic(REGISTER_CELL_MAGIC)  # type: ignore[arg-type]  # IPython's annotation allows only a function
    @no_var_expand
    def _register_cell(self, line: str) -> None:
        """Register the current cell. ``%%notify_on_finish`` calls this; write that instead."""
        self.cell_hooks.register_current_cell(line)

    @_set_help(lambda: _all_parser().format_help())
    @line_magic
    def notify_all(self, line: str) -> None:
        """Send a Slack alert for every long cell, without registering each one."""
        from cwnotify import settings
        from cwnotify.errors import UsageError
        from cwnotify.notebook.arguments import MagicArguments, apply_default_min_seconds, parse_notify_all_arguments

        try:
            arguments = parse_notify_all_arguments(line)
        except UsageError as error:
            warn(str(error))
            return
        if arguments is None:
            self.cell_hooks.notify_all_arguments = None
            return
        if arguments.problems:
            warn("\n".join((*arguments.problems, "Long cells are reported all the same, without these options.")))
        minimum = settings.load_settings(overrides=self.overrides())[0].min_seconds
        self.cell_hooks.notify_all_arguments = MagicArguments(
            options=apply_default_min_seconds(arguments.options, minimum)
        )

    @_set_help(_cwnotify_help)
    @line_magic
    def cwnotify(self, line: str) -> None:
        """Open the panel, or set up and check cwnotify.

        %cwnotify           open the panel: CPU, alarms and runs, live, while cells run
        %cwnotify panel     open the panel with the options below
        %cwnotify login     ask for the Slack webhook without echo, test it and store it
        %cwnotify test      send a test message
        %cwnotify outbox    list the alerts that wait or could not be delivered, and why
        %cwnotify config    show each setting and its source
        %cwnotify doctor    check the setup, and show how to fix problems
        """
        subcommand, _, rest = line.strip().partition(" ")
        if subcommand in CLI_SUBCOMMANDS:
            from cwnotify.notebook.cli_bridge import run_cli_command

            run_cli_command(subcommand, rest)
        elif subcommand in ("help", "-h", "--help"):
            print(_cwnotify_help(), end="")
        elif subcommand in ("", "panel") or subcommand.startswith("--"):
            self._open_panel(rest if subcommand == "panel" else line)
        else:
            from cwnotify.suggestions import closest_match

            match = closest_match(subcommand, MAGIC_SUBCOMMANDS)
            hint = (
                f"did you mean %cwnotify {match}?"
                if match
                else (
                    f"it takes {', '.join(MAGIC_SUBCOMMANDS)}, or nothing; "
                    "all other commands are for a terminal: cwnotify --help"
                )
            )
            warn(f"%cwnotify does not know {subcommand!r}; {hint}")

    def _open_panel(self, line: str) -> None:
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


def _complete_cwnotify(shell: InteractiveShell, event: Any) -> list[str]:
    """Return the Tab completions for a ``%cwnotify`` line."""
    words = event.text_until_cursor.removesuffix(event.symbol).split()
    if len(words) > 1 and words[1] in CLI_SUBCOMMANDS:
        return []
    options: list[str] = re.findall("--[a-z-]+", _panel_help().partition("\n\n")[0])
    return options if len(words) > 1 else [*MAGIC_SUBCOMMANDS, *options]


def _make_completer(make_parser: Callable[[], ArgumentParser]) -> Callable[[InteractiveShell, Any], list[str]]:
    """Return a Tab completer for a parser's options, and for the values of an option that lists them."""

    def complete(shell: InteractiveShell, event: Any) -> list[str]:
        # `line` is the line so far; `symbol` is the typed part of its last word.
        last_word = event.line[: len(event.line) - len(event.symbol)].split()[-1:]
        actions = {option: action for action in make_parser()._actions for option in action.option_strings}
        metavar = actions[last_word[0]].metavar if last_word and last_word[0] in actions else None
        return metavar.split("|") if isinstance(metavar, str) and "|" in metavar else list(actions)

    return complete


_COMPLETERS = {
    "%cwnotify": _complete_cwnotify,
    "%notify_on_finish": _make_completer(_cell_parser),
    "%%notify_on_finish": _make_completer(_cell_parser),
    "%notify_all": _make_completer(_all_parser),
}


def register_extension(shell: InteractiveShell) -> None:
    """Register the magics, `%config CWNotify` and the hooks, unless they are registered already."""
    if _find_magics(shell):
        return
    magics = CWNotify(shell)
    shell.register_magics(magics)
    magics.cell_hooks.attach()
    _schedule_preload(magics)
    for magic, complete in _COMPLETERS.items():
        shell.set_hook("complete_command", complete, str_key=magic)


def _schedule_preload(magics: CWNotify) -> None:
    """Let an idle kernel load what its first registered cell needs, so that this cell starts faster.

    The kernel's event loop runs the preload in the main thread, never during a cell. Without a loop, the cell itself
    imports what it needs.
    """
    import asyncio

    try:
        asyncio.get_running_loop().call_later(PRELOAD_DELAY, _preload, magics)
    except RuntimeError:
        return


def _preload(magics: CWNotify) -> None:
    try:
        import cwnotify.notebook.show_option
        import cwnotify.runs.deadline
        import cwnotify.runs.exceptions
        import cwnotify.runs.recorder  # noqa: F401 (only loaded here)
        from cwnotify import settings
        from cwnotify.notebook.arguments import notify_on_finish_parser

        notify_on_finish_parser()
        settings.load_settings(overrides=magics.overrides())
    except Exception:
        # The first cell that needs them reports the error.
        return


def unregister_extension(shell: InteractiveShell) -> None:
    """Remove everything that `register_extension` added, and close all panels."""
    magics = _find_magics(shell)
    if magics is None:
        return
    magics.cell_hooks.detach()
    # If the module is not loaded, no panel is open.
    if live_panel := sys.modules.get("cwnotify.notebook.live_panel"):
        live_panel.close_all_panels()
    for kind, names in CWNotify.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.magics_manager.registry.pop("CWNotify", None)
    for magic in _COMPLETERS:
        shell.strdispatchers["complete_command"].strs.pop(magic, None)
    shell.configurables[:] = [item for item in shell.configurables if type(item).__name__ != "CWNotify"]


def _find_magics(shell: InteractiveShell) -> CWNotify | None:
    """Return the registered magics. Search by name, because a reload creates a new class."""
    magics: CWNotify | None = shell.magics_manager.registry.get("CWNotify")
    return magics
