"""Which rows are fit to use: raw months in, typed months, rejected rows and a report out.

Gather what changed, decide on each such month, and only when all of them are fit put everything in
place: a file or a month that is refused leaves what was there before as it was.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.shared import contract, dvc_files, errors, files, memory, params, snapshots
from stages.shared.errors import UserError
from stages.shared.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from stages.shared.rows import Checked, Rejected
    from stages.shared.snapshots import Snapshot

# Another source or version may read the same file in another way.
MODULES = [
    "stages.ingest",
    *(f"stages.shared.{name}" for name in ("contract", "csv_text", "rows", "snapshots", "values")),
]
PACKAGES = ["pandas", "pandera", "pyarrow"]

# Of a refused month nobody looks at more.
REJECTED_SHOWN = 10_000
COLUMNS_SHOWN = 8


class Folders(NamedTuple):
    """Where typed months and rejected rows go: for good, or until all months are read."""

    months: Path
    rejected: Path

    def paths(self, month: str) -> tuple[Path, Path]:
        """A month's two files; the second is there only where rows were rejected."""
        return self.months / f"{month}.parquet", self.rejected / f"{month}.csv"

    def digests(self, month: str) -> list[str | None]:
        """What the two files hold."""
        return [files.sha256(p) if p.is_file() else None for p in self.paths(month)]


class Judged(NamedTuple):
    """A month that was read."""

    report: dict[str, Any]
    table: pa.Table  # the rows that are fit to use
    rejected: list[Rejected]
    refusal: str | None  # why the month as a whole is not fit to use


def main() -> None:
    """Ingest the months that params.yaml names, and report."""
    data, limits = params.data(), params.ingest()
    watched(data.snapshots, dvc_files.wiring())
    out, known = Folders(files.MONTHS, files.REJECTED), files.MEMORY / "ingest.json"
    report = ingest(files.ROOT / data.snapshots, out, known, data, limits.max_rejected_share)
    files.write_json(files.REPORTS / "ingest.json", report)


def watched(snapshots: str, stages: dict[str, dict[str, Any]]) -> None:
    """Refuse a folder of snapshots that DVC would not see change.

    dvc.yaml could take the name from params.yaml, but DVC's templates cost every `dvc repro` a
    tenth of its time.

    Args:
        snapshots: ``data.snapshots`` of params.yaml.
        stages: those of dvc.yaml.
    """
    inputs = stages.get("ingest", {}).get("deps") or [""]
    if snapshots not in inputs:
        raise UserError(
            f"params.yaml: data.snapshots is {snapshots!r}, but dvc.yaml names {inputs[0]!r} as "
            "input of the stage ingest: write the same folder in both"
        )


def ingest(
    raw: Path, out: Folders, known: Path, data: params.Data, max_share: float
) -> dict[str, Any]:
    """Bring the folders of ``out`` in line with ``raw``, and say what was done.

    Args:
        raw: the folder of snapshots.
        out: where typed months, with the contract in their metadata, and rejected rows go.
        known: the file that remembers what was read; may be deleted at any time.
        data: the contract.
        max_share: a month with a greater share of rejected rows is refused.

    Returns:
        The report: for each month its file, rows kept and rejected, labels, unknown columns.

    Raises:
        UserError: a file or a month is refused. All is as it was, save that the rows of the month
            that is refused lie in ``out.rejected``.
    """
    found = snapshots.find(raw)
    keys = _keys(found, data, max_share)
    entries = _unchanged(memory.recall(known), keys, out)
    new = [path for month, path in found.items() if month not in entries]
    with _workshop(out.months.with_name(".ingest.tmp")) as workshop:
        for path in new:
            report = _read(path, workshop, out, data, max_share)
            digests = workshop.digests(path.stem)
            entries[path.stem] = {"key": keys[path.stem], "outputs": digests, "report": report}
        _put_in_place(workshop, out, [path.stem for path in new])
    gone = _remove_all_but(found, out)
    memory.remember(known, {month: entries[month] for month in found})
    reports = [entries[month]["report"] for month in found]
    say(_closing_line(reports, len(new), gone))
    return {"months": reports}


def judge(path: Path, data: params.Data, max_share: float) -> Judged:
    """Read one file and decide which of its rows are fit to use, and whether the month is.

    Raises:
        UserError: the file as a whole is not, or lacks a column of the contract.
    """
    from stages.shared import rows  # takes a second, and most runs have a month or none to read

    snapshot = snapshots.read(path, {data.id, data.label, *data.features})
    checked = rows.check(snapshot, data)
    bad = checked.bad
    rejected = int(bad.sum()) + len(snapshot.ragged)
    refused = rejected > max_share * snapshot.total or rejected == snapshot.total
    faults = rows.rejected(snapshot, checked, REJECTED_SHOWN if refused else None)
    fit = checked.table.filter(~bad) if bad.any() else checked.table
    refusal = _refusal(snapshot, checked, rejected, max_share) if refused else None
    return Judged(_report(snapshot, fit, rejected, data), fit, faults, refusal)


def _report(snapshot: Snapshot, fit: pa.Table, rejected: int, data: params.Data) -> dict[str, Any]:
    return {
        "month": snapshot.path.stem,
        "file": snapshot.path.name,
        "rows": fit.num_rows,
        "rejected": rejected,
        "labelled": fit.num_rows - fit[data.label].null_count,
        "unknown_columns": [name for name in snapshot.header if name not in fit.column_names],
    }


def _keys(found: dict[str, Path], data: params.Data, max_share: float) -> dict[str, str]:
    """For each month a key over all that its outputs depend on."""
    code = memory.code_key(MODULES, PACKAGES)
    features = list(contract.to_dict(data.features).items())  # a list: their order counts
    rules = [data.id, data.label, data.positive, features, max_share]
    return {m: files.key(code, rules, path.name, files.sha256(path)) for m, path in found.items()}


def _unchanged(remembered: dict[str, Any], keys: dict[str, str], out: Folders) -> dict[str, Any]:
    """What is remembered of the months whose file, rules and outputs are what they were."""
    return {
        month: remembered[month]
        for month, key in keys.items()
        if remembered.get(month, {}).get("key") == key
        and remembered[month]["outputs"] == out.digests(month)
    }


@contextmanager
def _workshop(folder: Path) -> Iterator[Folders]:
    """An empty folder beside the outputs, gone afterwards; what a killed run left goes too."""
    shutil.rmtree(folder, ignore_errors=True)
    inside = Folders(folder / "months", folder / "rejected")
    try:
        for each in inside:
            each.mkdir(parents=True)
        yield inside
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(
    path: Path, workshop: Folders, out: Folders, data: params.Data, max_share: float
) -> dict[str, Any]:
    """Read one month into the workshop, and say so."""
    judged = judge(path, data, max_share)
    look_at = out.paths(path.stem)[1]
    if judged.refusal:
        _write_rejected(look_at, path.name, judged.rejected)
        remedy = f"look at {files.relative(look_at)}, then mend the file or data in params.yaml"
        raise UserError(f"{judged.refusal}: {remedy}")
    typed, rejected = workshop.paths(path.stem)
    _write_month(typed, judged.table, data)
    if judged.rejected:
        _write_rejected(rejected, path.name, judged.rejected)
    say(_line(judged.report, look_at), flush=True)
    return judged.report


def _refusal(snapshot: Snapshot, checked: Checked, rejected: int, max_share: float) -> str:
    times = Counter({f"{f.column!r} {f.reason}": len(f.rows) for f in checked.faults})
    times["more or fewer fields than the header"] = len(snapshot.ragged)
    reason, most = times.most_common(1)[0]
    share = f"{rejected:,} of {_count(snapshot.total, 'row')} ({rejected / snapshot.total:.3g})"
    return (
        f"{files.relative(snapshot.path)} is refused: {share} are not fit to use, where "
        f"ingest.max_rejected_share is {max_share:g}; most often {reason} ({most:,})"
    )


def _write_month(path: Path, table: pa.Table, data: params.Data) -> None:
    from pyarrow import parquet

    facts = {"id": data.id, "label": data.label, "features": contract.to_dict(data.features)}
    # In one chunk, so that the bytes do not depend on the blocks in which the file was read.
    whole = contract.stamp(table.combine_chunks(), facts)
    repeating = [name for name in table.column_names if name != data.id]  # ids hardly do
    parquet.write_table(whole, path, use_dictionary=repeating)


def _write_rejected(path: Path, name: str, rejected: Iterable[Rejected]) -> None:
    with (
        files.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", "column", "value", "reason"])
        writer.writerows((name, *fault) for fault in rejected)


def _put_in_place(workshop: Folders, out: Folders, months: Iterable[str]) -> None:
    for folder in out:
        folder.mkdir(parents=True, exist_ok=True)
    for month in months:
        for made, place in zip(workshop.paths(month), out.paths(month), strict=True):
            if made.exists():
                made.replace(place)
            else:
                place.unlink(missing_ok=True)


def _remove_all_but(months: Iterable[str], out: Folders) -> int:
    """Leave what a fresh run would, and say how many months went."""
    expected = {path for month in months for path in out.paths(month)}
    stale = [path for folder in out for path in folder.iterdir() if path not in expected]
    for path in stale:
        path.unlink()
    return sum(path.suffix == ".parquet" for path in stale)


def _line(report: dict[str, Any], look_at: Path) -> str:
    parts = [f"{report['file']}: {_count(report['rows'], 'row')}"]
    if report["rejected"]:
        parts.append(f"{report['rejected']:,} rejected ({files.relative(look_at)})")
    return ", ".join([*parts, f"labels known for {report['labelled']:,}"])


def _closing_line(reports: list[dict[str, Any]], read: int, gone: int) -> str:
    parts = [f"{_count(read, 'month')} read", f"{len(reports) - read:,} unchanged"]
    parts += [f"{gone:,} removed"] if gone else []
    unknown = sorted({name for report in reports for name in report["unknown_columns"]})
    if unknown:
        shown = [name or "one without a name" for name in unknown[:COLUMNS_SHOWN]]
        names = ", ".join(shown) + ", ..." * (len(unknown) > COLUMNS_SHOWN)
        parts.append(f"{_count(len(unknown), 'column')} not in the contract ({names})")
    return f"ingest: {', '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


if __name__ == "__main__":
    errors.run(main)
