"""What adopting a folder came to, and how a person is told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from data.adoption import columns, section
from stages.shared import months as calendar

if TYPE_CHECKING:
    from data.adoption.columns import Finding
    from data.adoption.labels import Labels
    from data.adoption.survey import Survey
    from stages.shared import params

FEW = 10  # customers of a class, by whom nothing can be judged


class Adopted(NamedTuple):
    """What was decided."""

    found: Survey
    label: Labels
    findings: list[Finding]
    data: params.Data
    gate_f1: float


def rows(adopted: Adopted) -> list[tuple[str, str, str, str]]:
    """The table: column, type, what it holds, whether it is used or why not."""
    data, label, customers = adopted.data, adopted.label, adopted.found.customers
    about = "" if customers.exact else "about "
    means = f"{data.positive!r} means left; " if data.positive is not None else ""
    base_rate = f"{means}{label.rate:.1%} of {label.rows:,} labelled rows left"
    table = [
        (data.id, "id", f"{about}{counted(customers.count, 'customer')}", "the id"),
        (data.label, "label", base_rate, "the label"),
    ]
    for finding in adopted.findings:
        used = f"no: it {finding.left_out}" if finding.left_out else "yes"
        name = columns.printable(finding.name).strip() or "(no name)"
        table.append((name, finding.kind, finding.found, used))
    return table


def notes(adopted: Adopted, drift: params.Drift) -> list[str]:
    """What else a person should know, a line each."""
    months = [month.name for month in adopted.found.months]
    total = sum(month.rows for month in adopted.found.months)
    said = [f"{counted(len(months), 'month')}, {calendar.span(months)}, {counted(total, 'row')}"]
    gaps = [
        counted(calendar.apart(a, b) - 1, "month") + f" after {a}"
        for a, b in itertools.pairwise(months)
        if calendar.apart(a, b) > 1
    ]
    if gaps:
        said[0] += f"; no file for {', '.join(gaps)}"
    return [
        *said,
        *_on_the_columns(adopted, drift),
        *_on_the_label(adopted),
        *_on_the_sizes(adopted, drift),
    ]


def _on_the_label(adopted: Adopted) -> list[str]:
    label, name, months = adopted.label, adopted.data.label, adopted.found.months
    said = []
    if label.guessed:
        other = next(t for month in months for t in month.labels if t != label.positive)
        said.append(
            f"GUESSED: {name} {label.positive!r} means that a customer left; if it is the other "
            f"way round, type LABEL='{name}={other}'"
        )
    newest = label.months[-1]
    said.append(f"label_delay {label.delay}: the newest month with labels is {newest}")
    late = [m.name for m in months if m.name < newest and m.name not in label.months]
    if late:
        said.append(f"{', '.join(late)}: most labels are missing, so no model is trained on it")
    if label.months[0] in label.one_class:
        said.append(
            f"{label.months[0]}: all labels are the same; while it alone is the training window, "
            "there is nothing to learn"
        )
    said.append(
        f"gate_f1 {adopted.gate_f1:g}: what answering churn to everybody reaches where churn is "
        f"rarest ({label.rarest:.1%}); raise it once you know what is within reach"
    )
    return said


def _on_the_sizes(adopted: Adopted, drift: params.Drift) -> list[str]:
    months, label = adopted.found.months, adopted.label
    said = []
    small = sum(month.rows < drift.min_rows for month in months)
    if small:
        said.append(
            f"{small:,} of {counted(len(months), 'month')} have fewer than {drift.min_rows:,} rows "
            "(drift.min_rows): drift is not judged there"
        )
    newest = next(month for month in months if month.name == label.months[-1])
    held = newest.labels.total() * drift.holdout_share
    fewer = held * min(label.rate, 1 - label.rate)
    if fewer < FEW:
        said.append(
            f"{newest.name}: about {held:.0f} customers will be held out, {fewer:.0f} of the rarer "
            "class; too few to tell a good model from a bad one"
        )
    return said


def _on_the_columns(adopted: Adopted, drift: params.Drift) -> list[str]:
    said = []
    if any(finding.left_out and finding.kind for finding in adopted.findings):
        said.append("KEEP=column,column keeps columns that were left out")
    unknown = section.unknown_overrides(drift.columns, adopted.data)
    if unknown:
        said.append(f"drift.columns named {', '.join(unknown)}, which is not used: taken out")
    return said


def counted(number: int, what: str) -> str:
    """``1 month``, ``1,024 months``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
