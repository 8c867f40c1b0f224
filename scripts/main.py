"""`journeyman`: one subcommand a file of this folder.

Always true here: `--help` of every subcommand answers without importing torch; a command's module holds `HELP`,
`add_arguments(parser)` and `run(args) -> exit code`, and imports what is heavy inside `run`.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..configs.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE, BadInput, Stopped

COMMANDS = (
    "quickstart", "try", "train", "evaluate", "prove", "replay", "audit", "bench", "publish", "nano", "env",
    "serve-rollouts",
)  # fmt: skip

DESCRIPTION = """Train a small open model into a specialist at one job, prove on held-out work that it got better,
and keep the adapter."""

EPILOG = """jobs: a name (arithmetic, triage, lookup, courier, gsm8k) or the path of a YAML file
exit codes: 0 done, 2 bad input, 75 stopped by a signal and resumable, 1 anything else"""


class _Parser(argparse.ArgumentParser):
    """A word that can't be read is bad input like any other: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise BadInput(f"{message} ({self.prog} --help says what there is)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="journeyman", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"journeyman {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f".{name.replace('-', '_')}_command", __package__)
        command = commands.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, takes_overrides=getattr(module, "TAKES_OVERRIDES", False))
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    parser = build_parser()
    try:
        args, rest = parser.parse_known_args(argv)
        if args.command is None:
            parser.print_help()
            raise SystemExit(0)
        if rest and not args.takes_overrides:
            parser.error(f"journeyman {args.command} takes no {' '.join(rest)}")
        args.overrides = rest
        for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: whoever has children stops them first
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, signal.default_int_handler)
        code = args.run(args)
    except BadInput as error:
        print(f"journeyman: {error}", file=sys.stderr)
        code = EXIT_BAD_INPUT
    except Stopped as stop:
        print(f"journeyman: {stop}", file=sys.stderr)
        code = EXIT_RESUMABLE
    except KeyboardInterrupt:
        print("journeyman: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        code = 1
    raise SystemExit(code)


if __name__ == "__main__":
    main()
