"""Makes .venv independent of the folder that it was made in: a clone may be moved or copied.

pip writes the full path of Python into the first line of every script, and venv that of its folder
into ``activate``. Without this, `dvc` in a copied clone would run the original's environment, and
in a moved one nothing at all. Run by the Makefile, in a new environment and wherever the folder is
another than the one that was noted; needs no package.
"""

from __future__ import annotations

import re
import sys
import venv
from pathlib import Path

NOTE = "folder"  # in .venv: where it was when this was last run
# Read by a shell, this starts the Python beside the script; read by Python, it is a text.
HEAD = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")/python" "$0" "$@"
' '''
"""
# What pip writes, also where a path is long or has spaces; and what is above.
_PLAIN = re.compile(rb"#![^\n]*/\.venv/bin/python[0-9.]*\n")
_LONG = re.compile(rb"#!/bin/sh\n'''exec' [^\n]*/python[0-9.]*\"? \"\$0\" \"\$@\"\n' '''\n")

_FOUND = """
# Made by ops/portable.py: the environment is where this file is.
if [ -n "${BASH_SOURCE:-}" ] ; then
    VIRTUAL_ENV="$(cd "$(dirname "$BASH_SOURCE")/.." > /dev/null && pwd)"
elif [ -n "${ZSH_VERSION:-}" ] ; then
    eval 'VIRTUAL_ENV="${${(%):-%x}:A:h:h}"'
fi
"""
_BEFORE_PATH = '\n_OLD_VIRTUAL_PATH="$PATH"'


def script(content: bytes) -> bytes:
    """A script that starts the Python beside it; what is no script of a ``.venv`` stays."""
    for head in (_LONG, _PLAIN):
        found = head.match(content)
        if found:
            return HEAD + content[found.end() :]
    return content


def activation(text: str) -> str:
    """An ``activate`` that finds its own folder in bash and zsh; in others it has it in full."""
    return text.replace(_BEFORE_PATH, f"{_FOUND}{_BEFORE_PATH}", 1)


def main(folder: Path) -> None:
    """Make the environment's scripts portable; the note comes last, so that a kill is made good."""
    builder = venv.EnvBuilder()
    builder.setup_scripts(builder.ensure_directories(str(folder)))  # activate, for this folder
    activate = folder / "bin" / "activate"
    _replace(activate, activation(activate.read_text(encoding="utf-8")).encode())
    for path in sorted((folder / "bin").iterdir()):
        if path.is_file() and not path.is_symlink():
            before = path.read_bytes()
            if script(before) != before:
                _replace(path, script(before))
    (folder / NOTE).write_text(f"{folder.parent}\n", encoding="utf-8")


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.tmp")
    new.write_bytes(content)
    new.chmod(path.stat().st_mode)
    new.replace(path)


if __name__ == "__main__":
    try:
        main(Path.cwd() / ".venv")
    except OSError as error:  # a checkout that may only be read
        print(f"note: .venv stays as it is: {error}", file=sys.stderr)
