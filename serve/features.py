"""`make features`: fill the online store with each customer's newest ingested features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from serve import online
from stages.registry import birthplace
from stages.shared import contract, errors, files, params, window
from stages.shared.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.shared.params import Data


def newest(months: list[Path], data: Data) -> Iterator[dict[str, str]]:
    """Each customer once, from the newest month that has it.

    Args:
        months: typed months as ingest leaves them, oldest first.
        data: the contract.
    """
    seen: set[str] = set()
    names = list(data.features)
    for path in reversed(months):
        for rows in window.rows(path, [data.id, *names]):
            columns = [rows[name].to_pylist() for name in names]
            for customer, *values in zip(rows[data.id].to_pylist(), *columns, strict=True):
                if customer not in seen:
                    seen.add(customer)
                    features = orjson.dumps(dict(zip(names, values, strict=True))).decode()
                    yield {"customer": customer, "month": path.stem, "features": features}


def fill(url: str, customers: Iterator[dict[str, str]], key: str) -> int | None:
    """Fill the store, and say with how many; None if it was filled by this key before.

    Raises:
        UserError: it cannot be reached, or not be written.
    """
    try:
        store = online.engine(url)
        if store.url.get_backend_name() == "sqlite" and store.url.database:
            birthplace.own(Path(store.url.database))
        if online.filled_from(store) == key:
            return None
        return online.replace(store, customers, key)
    except online.FAILURES as error:
        why = f"serve.online_store cannot be filled ({online.reason(error)})"
        raise UserError(f"{why}: mend it, then type `make features`") from None


def main() -> None:
    """Fill the store, unless it was filled from the same months."""
    data, p = params.data(), params.serve()
    months = sorted(files.MONTHS.glob("*.parquet"))
    if not months:
        raise UserError("no month has been ingested: type `make repro`")
    key = files.key(contract.to_dict(data.features), [(m.stem, files.sha256(m)) for m in months])
    number = fill(p.online_store, newest(months, data), key)
    if number is None:
        print("features: the online store is up to date")
        return
    print(f"features: {number:,} customers, as of {months[-1].stem}, are answered by id")


if __name__ == "__main__":
    errors.run(main)
