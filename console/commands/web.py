"""`headrace console`: who may use the web console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from console import output
from console.scope import Scope, command

if TYPE_CHECKING:
    from web.access import Role

USER_EPILOG = """Examples:

headrace console user ada --role operator

pass show headrace | headrace console user ada"""


app = typer.Typer()
console = typer.Typer(help="Who may use the web console.", no_args_is_help=True)
app.add_typer(console, name="console")

RoleOption = Annotated[str, typer.Option(help="viewer, labeller or operator.")]


@command(console, epilog=USER_EPILOG)
def user(
    scope: Scope,
    *,
    name: Annotated[str, typer.Argument(help="Name to log in with.")],
    role: RoleOption = "operator",
) -> None:
    """Add a user, or change role and password; the password is asked for, or read from stdin."""
    from web.access import Access, folder

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    Access(folder(scope.settings())).set_user(name, _role(role), password)
    output.text(f"{name} is {role}")


@command(console)
def token(
    scope: Scope,
    *,
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    role: RoleOption = "viewer",
) -> None:
    """Make an API token and print it once; a token of the same name ends."""
    from web.access import Access, folder

    secret = Access(folder(scope.settings())).make_token(name, _role(role))
    if scope.json:
        output.line({"name": name, "role": role, "token": secret})
    else:
        output.text(secret)


@command(console)
def link(scope: Scope) -> None:
    """Print a link that opens the web console once, as operator, from this machine."""
    from web.access import Access, folder
    from web.address import address, announced

    settings = scope.settings()
    place = announced(settings)
    output.text(address(place, Access(folder(settings)).invite()))


def _role(text: str) -> Role:
    from console.failures import Exit, Failure
    from web.access import ROLES

    for role in ROLES:
        if role == text:
            return role
    raise Failure(Exit.USAGE, f"--role {text}: give {', '.join(ROLES)}")
