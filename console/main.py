"""`headrace`: the command line. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import os
import sys

import typer

from console import logs
from console.commands import (
    bench,
    bench_people,
    chaos,
    dead_letters,
    demo,
    doctor,
    label,
    learning,
    models,
    publish,
    reading,
    rerun,
    rescore,
    search,
    services,
    topics,
    web,
)
from console.failures import Exit, report
from console.scope import Scope, outer_scope

app = typer.Typer(
    name="headrace",
    help="An LLM operating system whose bus is Apache Kafka.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(outer_scope)
for module in (
    demo,
    services,
    publish,
    reading,
    topics,
    web,
    dead_letters,
    models,
    rescore,
    learning,
    rerun,
    search,
    label,
    doctor,
    bench,
    bench_people,
    chaos,
):
    app.add_typer(module.app)


def main() -> None:
    """Run one command and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name; its exit code."""
    debug = "--debug" in arguments
    logs.silence(debug=debug)  # a service configures its own log
    try:
        return int(app(arguments, standalone_mode=False) or Exit.DONE)
    except (typer.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Exception as error:  # noqa: BLE001  (the one place where every error ends)
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return int(error.exit_code)
        return report(error, Scope(debug=debug))


if __name__ == "__main__":
    main()
