"""What `POST /predict` and `POST /invocations` answer: a body in, plain values out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serve import body, mlflow_protocol, place
from serve.explain import Explanations
from serve.parallel import scored
from serve.problems import Fault, Problem
from serve.rows import refuse_many

if TYPE_CHECKING:
    from pathlib import Path

    from serve.current import Current, Model
    from serve.metrics import Metrics
    from serve.online import Online

RETRY = {"Retry-After": "2"}


class Predictions:
    """Answers with the model in place; every answer is of one model alone."""

    def __init__(
        self, folder: Path, current: Current, metrics: Metrics, online: Online, max_rows: int
    ) -> None:
        """Answer with the model of ``current``; at most ``max_rows`` customers of a request."""
        self._folder, self._current, self._max_rows = folder, current, max_rows
        self._metrics, self._online = metrics, online
        self._explanations = Explanations(folder)

    def model(self) -> Model:
        """The model to answer this request with.

        Raises:
            Problem: 503, there is none yet.
        """
        found = self._current.model()
        if found is None:
            seen = place.read(self._folder, place.WATCHER) or {}
            why = seen.get("error") or "the watcher has not put one in place"
            raise Problem(503, f"there is no model yet: {why}", headers=RETRY)
        return found

    def predict(self, sent: bytes) -> dict[str, Any]:
        """The probability of one customer, or of many.

        Raises:
            Problem: 400, 404, 413, 422 or 503.
        """
        now, given = self.model(), _object(sent)
        if "instances" in given and "instances" not in now.contract.names:
            return self._many(now, given, sent)
        return self._one(now, given, sent)

    def explain(self, sent: bytes) -> dict[str, Any]:
        """What moves the probability of one customer, and the probability.

        Raises:
            Problem: 400, 404, 422 or 503.
        """
        now, given = self.model(), _object(sent)
        values = self._values(now, given, sent)
        probability = now.servable.one(values)
        found = _prediction(now, given, probability)
        return found | self._explanations.explain(now, values)

    def invocations(self, sent: bytes) -> dict[str, Any]:
        """The labels of many customers, in MLflow's protocol.

        Raises:
            Problem: 400, 413 or 503.
        """
        churns = mlflow_protocol.answer(self.model(), body.parse(sent), self._max_rows)
        self._metrics.predicted(sum(churns), len(churns) - sum(churns))
        return {"predictions": churns}

    def _one(self, now: Model, given: dict[str, Any], sent: bytes) -> dict[str, Any]:
        probability = now.servable.one(self._values(now, given, sent))
        found = _prediction(now, given, probability)
        self._metrics.predicted(found["churn"], not found["churn"])
        return found

    def _values(self, now: Model, given: dict[str, Any], sent: bytes) -> list[Any]:
        """The values of one customer: those that are given, or the stored ones of the id alone."""
        body.refuse_repeated(sent, len(given))
        customer = given.get(now.contract.customer)
        if len(given) == 1 and type(customer) is str:
            return self._stored(customer, now)
        return now.contract.one(given)

    def _stored(self, customer: str, now: Model) -> list[Any]:
        """The values of a customer whom the online store knows."""
        try:
            return now.contract.one(self._online.features(customer, now.contract.names))
        except Problem as problem:
            if problem.status != 422:
                raise
            why = f"the stored features do not fit version {now.version}: type `make features`"
            raise Problem(503, why, headers=RETRY) from None

    def _many(self, now: Model, given: dict[str, Any], sent: bytes) -> dict[str, Any]:
        rows = given["instances"]
        faults = [Fault(name, "is not in the contract") for name in given if name != "instances"]
        if type(rows) is not list:
            faults.append(Fault("instances", "is not a list"))
        if faults:
            raise Problem(422, "the request does not fit the contract", faults)
        refuse_many(len(rows), self._max_rows)
        churned, predictions = 0, []
        columns = now.contract.many(rows) if rows else []
        body.refuse_repeated(sent, 1 + sum(map(len, rows)))
        if rows:
            threshold, customer = now.threshold, now.contract.customer
            predictions = [
                {"id": row.get(customer), "churn_probability": p, "churn": p >= threshold}
                for row, p in zip(rows, scored(now.servable, columns).tolist(), strict=True)
            ]
            churned = sum(one["churn"] for one in predictions)
        self._metrics.predicted(churned, len(rows) - churned)
        return {"predictions": predictions, "model_version": now.version}


def _object(sent: bytes) -> dict[str, Any]:
    found = body.parse(sent)
    if type(found) is not dict:
        raise Problem(422, "the body is not a JSON object")
    return found


def _prediction(now: Model, given: dict[str, Any], probability: float) -> dict[str, Any]:
    return {
        "id": given.get(now.contract.customer),
        "churn_probability": probability,
        "churn": probability >= now.threshold,
        "model_version": now.version,
    }
