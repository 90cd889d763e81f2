"""`make mlflow [PORT=n]`: MLflow's own server and pages on the clone's registry."""

from __future__ import annotations

import os
import sys

from stages.registry import birthplace, cli, connection
from stages.shared import errors
from stages.shared.errors import UserError


def main() -> None:
    """Become MLflow's server; if the registry is a server already, say where."""
    parser = cli.parser("MLflow's pages")
    parser.add_argument("--port", type=cli.port, default=5000)
    port = parser.parse_args().port
    local = connection.database()
    if local is None:
        print(f"the registry is a server already: {connection.shown()}")
        return
    if not local.is_file():
        raise UserError("there is no registry yet: type `make run`")
    connection.settle()
    print(f"MLflow's pages: http://127.0.0.1:{port} (Ctrl-C ends them)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    where = ["--backend-store-uri", connection.uri()]
    root = ["--default-artifact-root", (local.parent / birthplace.ARTIFACTS).as_uri()]
    os.execv(sys.executable, [*command, *where, *root])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    errors.run(main)
