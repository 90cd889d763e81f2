"""Your own data: `make adopt DATA=folder ID=column LABEL=column[=value] [KEEP=columns]`.

Reads a folder of monthly files, makes a contract of what is in them, says what it found, puts the
months into data/raw and writes section ``data`` of params.yaml. Everything is checked before
anything is changed; an error, or a kill, leaves nothing by halves that another run does not mend.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.adoption import columns, labels, outcome, placing, section, survey
from data.adoption.outcome import Adopted
from stages.shared import errors, files, params, snapshots, words
from stages.shared.errors import UserError
from stages.shared.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.adoption.survey import Header

RAW = files.ROOT / "data" / "raw"
USAGE = "make adopt DATA=folder ID=column LABEL=column[=value] [KEEP=column,column]"


class Asked(NamedTuple):
    """What a person asked for, in the names that the files have."""

    id: str
    label: str
    positive: str | None
    keep: frozenset[str]


def adopt(
    folder: Path, id_column: str, label: str, keep: str, params_file: Path, raw: Path
) -> None:
    """Point the pipeline at the months of a folder.

    Args:
        folder: YYYY-MM.csv or .parquet files; it may be ``raw`` itself.
        id_column: the customer's id.
        label: the label's column, or ``column=value`` with the value of those who left.
        keep: columns, apart by commas, that stay whatever speaks against them.
        params_file: params.yaml; its ``data`` section, ``gate_f1`` and maybe ``drift.columns``
            change, all else stays.
        raw: the folder of snapshots that the pipeline reads; gets these months and no others.

    Raises:
        UserError: nothing was changed.
    """
    gone = [placing.recover(raw)]
    before = params.read(params_file)
    limits = params.parse(params.Ingest, "ingest", before.get("ingest"))
    drift = params.parse(params.Drift, "drift", before.get("drift"))
    params.parse(params.Evaluate, "evaluate", before.get("evaluate"))
    found = _months(folder)
    headers = {month: survey.header(path) for month, path in found.items()}
    asked = understand(headers, id_column, label, keep)
    print(f"reading {outcome.counted(len(found), 'month')} of {files.relative(folder)}", flush=True)
    adopted = decide(found, headers, asked, limits.max_rejected_share)
    old = params_file.read_text(encoding="utf-8")
    new = section.rewrite(old, adopted.data, adopted.gate_f1)
    title = f"What is in {files.relative(folder)}"
    words.table(title, ("column", "type", "what it holds", "used"), outcome.rows(adopted))
    gone.append(placing.place(list(found.values()), new, raw, params_file))
    for line in [*outcome.notes(adopted, drift), *filter(None, gone)]:
        say(line)
    if before.get("data") != section.read(new)["data"]:
        print(section.OTHER_MODEL)
    print("next: make repro")


def _months(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"DATA={folder} is no folder: name the one with the months' files")
    if not any(folder.iterdir()):
        raise UserError(f"DATA={folder} is empty: put YYYY-MM.csv or YYYY-MM.parquet files there")
    return snapshots.find(folder)


# --- what was asked for ------------------------------------------------------------------------


def understand(headers: dict[str, Header], id_column: str, label: str, keep: str) -> Asked:
    """Find the columns that a person named.

    Raises:
        UserError: there is none of that name, or two are one.
    """
    names = list(dict.fromkeys(name for found in headers.values() for name in found.names))
    id_name = _named("ID", id_column, names)
    label_name, positive = _label(label, names)
    if id_name == label_name:
        raise UserError(f"ID and LABEL both name {id_name!r}: they are two columns")
    for month, found in headers.items():
        if id_name not in found.names:
            raise UserError(f"{month} has no column {id_name!r}, the id: add it to the file")
        for name in found.names:
            if name != label_name and name.strip().casefold() == label_name.strip().casefold():
                raise UserError(
                    f"{month} has a column {name!r} that could be the label {label_name!r}: "
                    "rename or remove it"
                )
    kept = frozenset(_named("KEEP", name, names) for name in _split(keep, names))
    for name in kept & {id_name, label_name}:
        raise UserError(f"KEEP names {name!r}, which is the id or the label: take it out of KEEP")
    return Asked(id_name, label_name, positive, kept)


def _named(option: str, name: str, names: Sequence[str]) -> str:
    """The column that is meant: accents can be written in two ways that look the same."""
    same = [n for n in names if n == name] or [n for n in names if _composed(n) == _composed(name)]
    if len(same) == 1:
        return same[0]
    lower = {n.casefold(): n for n in names}
    close = [lower[n] for n in difflib.get_close_matches(name.casefold(), lower, n=3)]
    shown = ", ".join(repr(n) for n in close or names[:20])
    raise UserError(f"{option}={name}: there is no such column; there is {shown}")


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _label(asked: str, names: Sequence[str]) -> tuple[str, str | None]:
    """The label's column, and the value of those who left if it was named."""
    known = {_composed(name) for name in names}
    for at, sign in enumerate(asked):
        if sign == "=" and _composed(asked) not in known and _composed(asked[:at]) in known:
            return _named("LABEL", asked[:at], names), asked[at + 1 :].strip()
    return _named("LABEL", asked, names), None


def _split(keep: str, names: Sequence[str]) -> list[str]:
    """The columns of KEEP; one with a comma in it stands alone, or in quotes."""
    if keep and keep in names:
        return [keep]
    parts = (part.strip() for row in csv.reader([keep], skipinitialspace=True) for part in row)
    return [part for part in parts if part]


# --- what is decided ---------------------------------------------------------------------------


def decide(
    found: dict[str, Path], headers: dict[str, Header], asked: Asked, max_rejected: float
) -> Adopted:
    """Read all months, and make a contract of what is in them.

    Raises:
        UserError: the pipeline could not run on these data.
    """
    facts = survey.survey(found, headers, asked.id, asked.label, asked.positive, max_rejected / 2)
    label = labels.read(facts.months, asked.label, asked.positive, max_rejected / 2)
    findings = columns.decide(facts, label, asked.keep, max_rejected)
    data = params.Data(
        id=asked.id,
        label=asked.label,
        positive=label.positive,
        label_delay=label.delay,
        features={finding.name: finding.feature for finding in findings if finding.feature},
    )
    return Adopted(facts, label, findings, data, columns.gate_f1(label))


def main() -> None:
    """Adopt what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m data.adopt", usage=USAGE, add_help=True)
    for option in ("data", "id", "label"):
        parser.add_argument(f"--{option}", default="")
    parser.add_argument("--keep", default="")
    asked = parser.parse_args()
    missing = [o.upper() for o in ("data", "id", "label") if not getattr(asked, o)]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be named: {USAGE}")
    folder = Path(asked.data).expanduser()
    adopt(folder, asked.id, asked.label, asked.keep, files.PARAMS, RAW)


if __name__ == "__main__":
    errors.run(main)
