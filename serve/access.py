"""Who may ask what: by the name that the server was asked under, and by a token.

The name, because a page from elsewhere can have its own name lead to this server and then read
its answers (DNS rebinding): the browser takes both for one origin, but the Host header tells them
apart. The token, because whoever reaches an address that is not loopback's could read customers.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import os
import re
import secrets
import socket
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from serve.metrics import ELSEWHERE
from serve.problems import MIMETYPE, Problem
from serve.protect import HEADERS
from stages.shared import files
from stages.shared.errors import UserError
from stages.shared.identifiers import shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from serve.metrics import Metrics
    from stages.shared.params import Serve

# What probes and Prometheus ask, by an address and without a token: none of it holds a customer.
OPEN = frozenset({"/health", "/ready", "/ping", "/version", "/metrics"})
TOKEN = "SERVE_TOKEN"  # noqa: S105 - the variable's name
SHORTEST = 16  # characters of a token
# Two headers: browsers look at the first scheme of each alone.
CHALLENGES = [
    ("WWW-Authenticate", 'Bearer realm="churn"'),
    ("WWW-Authenticate", 'Basic realm="churn", charset="UTF-8"'),
]
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_EVERYWHERE = frozenset({"", "0.0.0.0", "[::]"})  # noqa: S104 - to tell it, not to listen there
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+?)\.?(:[0-9]*)?", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)


class Rules(NamedTuple):
    """What a request must show."""

    hosts: frozenset[str]  # names in lower case; IPv6 in brackets
    token: bytes | None  # None where everybody is let in


def decide(rules: Rules, path: str, host: str | None, authorization: str | None) -> Problem | None:
    """Why a request is refused: 400, 401 or 421; None where it is let in.

    Args:
        rules: what it must show.
        path: what is asked for.
        host: the Host header.
        authorization: the Authorization header.
    """
    if path in OPEN:
        return None
    if host is None:
        return Problem(400, "the request has no Host header: send one")
    if name_of(host) not in rules.hosts:
        return Problem(
            421,
            f"this server does not answer to the name {shown(host)}: ask it by its own, or write "
            "the name into serve.allowed_hosts of params.yaml (SERVE_ALLOWED_HOSTS)",
        )
    if rules.token is not None and not _shows(rules.token, authorization or ""):
        return Problem(
            401,
            "this needs the server's token, as `Authorization: Bearer <token>`, or as the password "
            f"of any user: it is in {TOKEN} or in the file that serve.token_file of params.yaml "
            "names, where the server runs",
        )
    return None


@lru_cache(maxsize=256)
def name_of(host: str) -> str:
    """The name in a Host header, in lower case, without port and final dot; empty if it is none."""
    found = _HOST.fullmatch(host)
    return found[1].lower() if found else ""


def _shows(token: bytes, authorization: str) -> bool:
    """Whether an Authorization header has the token; takes as long for any that is as long."""
    scheme, _, rest = authorization.partition(" ")
    given = rest.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given, token)


class Access:
    """A WSGI application in front of another: nothing passes that `decide` refuses."""

    def __init__(self, behind: WSGIApplication, rules: Rules, metrics: Metrics) -> None:
        self._behind, self._rules, self._metrics = behind, rules, metrics

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Pass a request on, or refuse it."""
        get = environ.get
        problem = decide(
            self._rules, environ["PATH_INFO"], get("HTTP_HOST"), get("HTTP_AUTHORIZATION")
        )
        if problem is None:
            # Nothing behind this needs the client's: no link and no redirect can be made of it.
            environ["HTTP_HOST"] = "localhost"
            return self._behind(environ, start)
        self._metrics.count(ELSEWHERE, problem.status, 0.0)
        said = problem.json()
        headers = [("Content-Type", MIMETYPE), ("Content-Length", str(len(said)))]
        headers += HEADERS.items()
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers += CHALLENGES
        start(f"{problem.status} {HTTPStatus(problem.status).phrase}", headers)
        return [said]


# --- from the settings -------------------------------------------------------------------------


def rules(settings: Serve) -> Rules:
    """What requests must show, by section ``serve`` and the environment.

    Raises:
        UserError: the server would be open to others than this machine, or its token is none.
    """
    token = _token(settings)
    refuse_open([settings.host], token)
    return Rules(hosts(settings), token)


def refuse_open(bound: Iterable[str], token: bytes | None) -> None:
    """Refuse to listen where others can ask, without a token.

    Args:
        bound: addresses that the server listens at.
        token: what they must show.

    Raises:
        UserError: names the address, and the ways out.
    """
    for host in bound:
        if token is None and not is_loopback(host):
            raise UserError(
                f"the server would listen at {shown(host)}, where others than this machine could "
                f"read customers without a token: set {TOKEN} (openssl rand -hex 24), or name a "
                "file in serve.token_file of params.yaml, or set serve.host to 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def hosts(settings: Serve) -> frozenset[str]:
    """The names that the server answers to: loopback's, its own, and those of the settings."""
    named = [settings.host, *settings.allowed_hosts]
    own = {f"[{name}]" if ":" in name else name.lower() for name in named}
    return (_LOOPBACK | own | {socket.gethostname().lower()}) - _EVERYWHERE


def _token(settings: Serve) -> bytes | None:
    """The token of the environment, or else of the file that the settings name.

    Raises:
        UserError: it is too short, or has characters that a header cannot have.
    """
    where, found = TOKEN, os.environ.get(TOKEN, "")
    if not found and settings.token_file:
        where = f"serve.token_file ({settings.token_file})"
        found = _kept(files.home() / settings.token_file, where)
    elif not found:
        return None
    if len(found) < SHORTEST or not _TOKEN.fullmatch(found):
        raise UserError(
            f"the token in {where} is not one: it needs {SHORTEST} or more printable ASCII "
            "characters, no blanks (openssl rand -hex 24 makes one)"
        )
    return found.encode()


def _kept(path: Path, where: str) -> str:
    """The token in a file, which is made where it is not there.

    Raises:
        UserError: it can be neither read nor made.
    """
    try:
        if not path.exists():
            _make(path)
        return path.read_text(encoding="ascii", errors="replace").strip("\r\n")
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(
            f"{where} can be neither read nor made ({why}): name another file, or set {TOKEN}"
        ) from None


def _make(path: Path) -> None:
    """Write a new token; of several servers that start at once, one does.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secrets.token_hex(24)}\n")
    try:
        os.link(temporary, path)  # unlike a rename, it replaces nothing
        print(f"serve: a new token is in {files.relative(path)}", flush=True)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
