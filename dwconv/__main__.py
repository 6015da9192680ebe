"""The command line: `dwconv COMMAND` or `python -m dwconv COMMAND`; what a command does is in cli/.

Exit status: 0 done, 1 failed (a check that does not hold, a missing extra), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from . import __version__, config, isa
from .cli import CommandError
from .cli.output import Parser, not_printed
from .terminal import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; `arguments` are sys.argv[1:] by default."""
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help()
        return 0
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.command != "demo":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(chosen, rest)
        if sys.stdout is not None:  # None: the shell closed it, and print does nothing
            sys.stdout.flush()
    except CommandError as error:
        print(f"dwconv {chosen.command}: {printable(error)}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130  # as a shell reports SIGINT
    except OSError as error:  # what a command opens itself has errors of its own
        return not_printed(f"dwconv {chosen.command}", error)
    return status


class _Version(argparse.Action):
    """As argparse's "version", by `answer`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        parser.answer(f"dwconv {__version__}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="dwconv", description="Depthwise convolution on a CPU, as Keras defines it."
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="show program's version number and exit",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info = commands.add_parser(
        "info", help="versions, CPU, instruction sets, build: for a bug report"
    )
    check = commands.add_parser(
        "check", help="every instruction set of this CPU against the reference, in seconds"
    )
    for command, what in ((info, "the one to tell of"), (check, "the only one to check")):
        command.add_argument("--isa", choices=isa.available(), help=f"an instruction set: {what}")
        command.add_argument("--json", action="store_true", help="print JSON")
    inspect = commands.add_parser(
        "inspect", help="what a model file of any Keras, or one of dwconv, holds"
    )
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument(
        "--fold",
        action="store_true",
        help="make batch normalizations and activations part of the layers before them",
    )
    inspect.add_argument("--json", action="store_true", help="print JSON")
    convert = commands.add_parser(
        "convert", help="write the depthwise layers of a file in another format"
    )
    convert.add_argument("source", type=Path, metavar="IN")
    convert.add_argument(
        "target",
        type=Path,
        metavar="OUT",
        help=".safetensors, .npz, .keras, .weights.h5 or .json; with '*' in its name a file for "
        "each layer, whose path it stands for",
    )
    convert.add_argument(
        "--layer", metavar="PATH", help="the one to write, if IN holds other layers, too"
    )
    tune = commands.add_parser(
        "tune", help="measure which way to compute is the fastest, for the layers of a model"
    )
    tune.add_argument(
        "what",
        nargs="+",
        metavar="MODEL_OR_SHAPE",
        help="a model file that inspect reads, or a shape: 56x56x128,k3,s2,d1,m1 is H x W x C, "
        "kernel size (3), stride (1), dilation (1), depth multiplier (1)",
    )
    tune.add_argument("--threads", default="1", metavar="N", help="of a call, or auto (default: 1)")
    tune.add_argument("-o", "--out", type=Path, metavar="JSON", help="write what is found there")
    tune.add_argument(
        "--input", metavar="H,W", help="how large a model's images are, if its file does not say"
    )
    tune.add_argument(
        "--ms", type=float, default=100, help="milliseconds for each problem (default: 100)"
    )
    tune.add_argument("--json", action="store_true", help="print JSON")
    for command in (inspect, convert, tune):
        command.add_argument(
            "--config",
            type=Path,
            metavar="JSON",
            help="the architecture, for a file of weights alone (default: of that name beside it)",
        )
    commands.add_parser(
        "demo",
        help="in a clone: filter a photograph, write a picture of the result",
        add_help=False,
    )
    return parser


def _run(chosen: argparse.Namespace, rest: Sequence[str]) -> int:
    try:
        isa.default()
        config.check_variables()
    except ValueError as error:  # a variable of the environment
        raise CommandError(str(error), exit_status=2) from error
    # Imported here: `info` needs no convolution.
    if chosen.command == "info":
        from .cli import info

        return info.run(chosen.isa, chosen.json)
    if chosen.command == "check":
        from .cli import check

        return check.run(chosen.isa, chosen.json)
    if chosen.command == "inspect":
        from .cli import inspect

        return inspect.run(chosen.file, chosen.config, chosen.fold, chosen.json)
    if chosen.command == "convert":
        from .cli import convert

        return convert.run(chosen.source, chosen.target, chosen.config, chosen.layer)
    if chosen.command == "tune":
        from .cli import tune

        return tune.run(
            chosen.what,
            chosen.threads,
            chosen.out,
            chosen.input,
            chosen.config,
            chosen.ms,
            chosen.json,
        )
    from .cli import demo

    return demo.run(rest)


if __name__ == "__main__":
    sys.exit(main())
