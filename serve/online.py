"""The online store: each customer's newest ingested features, found by id.

All customers are replaced in one transaction, so that a reader sees the old ones or the new ones.
A customer's features are one JSON text: whatever a column is called, it fits.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from gevent import Timeout
from gevent.threadpool import ThreadPool
from sqlalchemy import (
    Column,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from serve.problems import Problem
from stages.shared import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Engine

_LONGEST = 255  # characters of an id
_META = MetaData()
_CUSTOMERS = Table(
    "customers",
    _META,
    Column("customer", String(_LONGEST), primary_key=True),
    Column("month", String(7), nullable=False),
    Column("features", Text, nullable=False),
)
_FILLED = Table("filled_from", _META, Column("key", String(64), primary_key=True))
_ONE = select(_CUSTOMERS.c.features).where(_CUSTOMERS.c.customer == bindparam("customer"))

# Of a database, of its driver that is not there, of an address that neither of them understands.
FAILURES = (SQLAlchemyError, ImportError, ValueError, TypeError)
BATCH = 10_000
THREADS = 10  # of a worker, that wait for the store
PATIENCE = 5.0  # seconds that a request waits for the store, or for one of these threads


def engine(url: str) -> Engine:
    """A connection pool; a relative SQLite path is taken from the clone's root."""
    made = make_url(url)
    if made.get_backend_name() == "sqlite" and made.database:
        made = made.set(database=str(files.home() / made.database))
        # A connection each time: a file that was deleted and made anew is another one.
        return create_engine(made, poolclass=NullPool)
    return create_engine(made, pool_pre_ping=True)


class Online:
    """The store as the server reads it."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self._url, self._patience = url, patience
        self._engine: Engine | None = None
        self._threads: ThreadPool | None = None  # made by the worker: a fork has no threads

    def features(self, customer: str, wanted: frozenset[str]) -> dict[str, Any]:
        """A customer's features.

        Raises:
            Problem: 404 for a customer that no month has, 503 if the store cannot be asked.
        """
        found = None
        try:
            if len(customer) <= _LONGEST:
                # In threads of its own: a database that is slow, or away, would hold up the
                # worker's other requests, and whatever else waits for a thread.
                if self._threads is None:  # an idle pool is false
                    self._threads = ThreadPool(THREADS)
                with Timeout(self._patience, TimeoutError("no answer within its time")):
                    text = self._threads.apply(self._find, (customer,))
                found = None if text is None else orjson.loads(text)
        except (*FAILURES, TimeoutError) as error:  # also of what somebody else wrote into it
            why = f"the online store cannot be asked ({reason(error)}): type `make features`"
            raise Problem(503, why, headers={"Retry-After": "5"}) from None
        if found is None:
            raise Problem(404, f"no month has a customer {customer[:40]!r}")
        return {n: value for n, value in found.items() if n in wanted}

    def _find(self, customer: str) -> str | None:
        if self._engine is None:
            self._engine = engine(self._url)
        with self._engine.connect() as connection:
            found: str | None = connection.execute(_ONE, {"customer": customer}).scalar()
        return found


def reason(error: Exception) -> str:
    """What a database, or its driver, says first; the rest is SQL."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def filled_from(store: Engine) -> str | None:
    """The key that `replace` was last given; None if it never ran to its end."""
    with store.connect() as connection:
        if not inspect(connection).has_table(_FILLED.name):
            return None
        return connection.execute(select(_FILLED.c.key)).scalar()


def replace(store: Engine, customers: Iterable[dict[str, str]], key: str) -> int:
    """Replace all customers; readers see the old ones until it is done.

    Args:
        store: where to write.
        customers: customer, month and features (as JSON); each customer once.
        key: tells what they were made of.

    Returns:
        How many there are now.
    """
    number, rest = 0, iter(customers)
    if store.dialect.name == "sqlite":
        with store.connect() as connection:  # readers then do not wait for a writer
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    _META.create_all(store)
    with store.begin() as connection:
        connection.execute(_CUSTOMERS.delete())
        while batch := list(islice(rest, BATCH)):
            connection.execute(_CUSTOMERS.insert(), batch)
            number += len(batch)
        connection.execute(_FILLED.delete())
        connection.execute(_FILLED.insert(), {"key": key})
    return number
