"""The server's answers: what it says of good requests, of bad ones, and of itself."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import gevent
import pytest
import serve_fixtures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_fixtures import FEATURES, GOOD, Placed

from serve import features, online, place
from serve.parallel import PARALLEL
from serve.place import PAGE
from serve.problems import MIMETYPE, Problem
from serve.remake import Remaker
from stages.shared import files, params
from stages.shared.errors import UserError

ESTIMATORS = ("hist_gradient_boosting", "logistic_regression", "random_forest")
# Flask's own way to a view, and the one before it: they must answer alike.
WAYS = {"shortcut": "application/json", "flask": "application/json; charset=utf-8"}


class Server:
    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.client = serve_fixtures.client(folder, **changes)

    def post(self, path: str, value: Any, way: str = "shortcut") -> tuple[int, Any]:
        sent = value if isinstance(value, bytes) else json.dumps(value).encode()
        answer = self.client.post(path, data=sent, content_type=WAYS[way])
        if answer.status_code >= 400:
            assert answer.mimetype == MIMETYPE
            assert answer.json["status"] == answer.status_code
            assert answer.json.keys() >= {"type", "title", "status", "detail"}
        return answer.status_code, answer.json

    def faults(self, value: Any, status: int = 422) -> dict[str, str]:
        found, said = self.post("/predict", value)
        assert found == status, said
        assert (found, said) == self.post("/predict", value, "flask")
        return {fault["field"]: fault["reason"] for fault in said["errors"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def placed(folder: Path) -> Placed:
    return serve_fixtures.put(folder, 3)


@pytest.fixture(scope="module")
def server(folder: Path, placed: Placed) -> Server:
    return Server(folder, max_body=100_000)


@pytest.mark.parametrize("way", WAYS)
def test_one_customer_is_answered_with_the_version_that_answered(
    server: Server, placed: Placed, way: str
) -> None:
    expected = placed.probability(GOOD)
    answer = {"churn_probability": expected, "churn": expected >= 0.5, "model_version": 3}
    assert server.post("/predict", GOOD, way) == (200, {"id": None, **answer})
    named = GOOD | {"customer": "00123"}
    assert server.post("/predict", named, way) == (200, {"id": "00123", **answer})


@pytest.mark.parametrize("way", WAYS)
def test_many_customers_are_answered_in_their_order(
    server: Server, placed: Placed, way: str
) -> None:
    rows = [GOOD | {"calls": float(n)} for n in range(20)] + [GOOD | {"customer": "last"}]
    status, said = server.post("/predict", {"instances": rows}, way)
    assert (status, said["model_version"]) == (200, 3)
    found = [one["churn_probability"] for one in said["predictions"]]
    assert found == pytest.approx([placed.probability(row) for row in rows], rel=1e-12)
    assert [one["id"] for one in said["predictions"]] == [None] * 20 + ["last"]
    assert [one["churn"] for one in said["predictions"]] == [p >= 0.5 for p in found]
    assert server.post("/predict", {"instances": []}, way)[1]["predictions"] == []


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_thousands_are_answered_as_each_alone_is(tmp_path: Path, estimator: str) -> None:
    placed = serve_fixtures.put(tmp_path, 1, estimator)
    rows = [GOOD | {"calls": n / 3, "paperless": n % 2 == 0} for n in range(2 * PARALLEL - 1000)]
    server = Server(tmp_path)
    said = server.post("/predict", {"instances": rows})[1]["predictions"]
    expected = [placed.probability(row) for row in rows]
    assert [one["churn_probability"] for one in said] == expected
    labels = server.post("/invocations", {"dataframe_records": rows})[1]["predictions"]
    assert labels == [int(p >= 0.5) for p in expected]


def test_a_missing_value_is_null_and_an_empty_category_is_missing(
    server: Server, placed: Placed
) -> None:
    nothing = dict.fromkeys(FEATURES)
    expected = pytest.approx(placed.probability(nothing), rel=1e-12)
    assert server.post("/predict", nothing)[1]["churn_probability"] == expected
    empty = nothing | {"plan": "", "région.x y": ""}
    assert server.post("/predict", empty)[1]["churn_probability"] == expected
    many = server.post("/predict", {"instances": [nothing, empty]})[1]["predictions"]
    assert [one["churn_probability"] for one in many] == [expected, expected]


def test_every_field_that_is_wrong_is_named_with_its_reason(server: Server) -> None:
    wrong = {"calls": -1, "paperless": "yes", "plan": "gold", "customer": 5, "extra": 1}
    assert server.faults(wrong) == {
        "calls": "is -1, below min 0",
        "paperless": 'is "yes", not true or false or null',
        "plan": 'is "gold", not one of NA, basic',
        "région.x y": "is missing: null says that it is not known",
        "customer": "is 5, not a text or null",
        "extra": "is not in the contract",
    }
    assert server.faults({"instances": [GOOD, wrong, 5]})["instances[1].calls"] == (
        "is -1, below min 0"
    )
    assert server.faults({"instances": [GOOD, 5]}) == {"instances[1]": "is 5, not an object"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("calls", True, "is true, not a number or null"),
        ("calls", "3", 'is "3", not a number or null'),
        ("calls", [1], "is a list, not a number or null"),
        ("calls", {"a": 1}, "is an object, not a number or null"),
        ("calls", 1001, "is 1001, above max 1000"),
        ("calls", 10**300, "is beyond 1e+30"),
        ("paperless", 1, "is 1, not true or false or null"),
        ("plan", 5, "is 5, not a text or null"),
        ("plan", ["NA"], "is a list, not a text or null"),
        ("région.x y", False, "is false, not a text or null"),
    ],
)
def test_a_value_of_another_type_or_range_is_refused(
    server: Server, field: str, value: Any, reason: str
) -> None:
    assert server.faults(GOOD | {field: value}) == {field: reason}
    assert server.faults({"instances": [GOOD, GOOD | {field: value}]}) == {
        f"instances[1].{field}": reason
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "sent",
    [
        b"", b"{", b"nonsense", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'{"calls": NaN}',
        b'{"calls": Infinity}', b'{"calls": 1e400}', b'{"calls": ' + b"9" * 50_000 + b"}",
        b"[" * 50_000, b'{"a":' * 10_000, b'{"plan": "\\ud800"}', b'{"plan": "\xff"}', b"{} {}",
    ],
)  # fmt: skip
def test_what_is_no_json_is_a_400(server: Server, sent: bytes, way: str) -> None:
    status, said = server.post("/predict", sent, way)
    assert status == 400
    assert said["detail"].startswith("the body is no valid JSON: ")
    assert server.post("/invocations", sent, way)[0] == 400


def test_a_key_that_is_there_twice_is_refused(server: Server) -> None:
    row = json.dumps(GOOD)
    again = row.replace("{", '{"calls": 1, ', 1)
    for sent in (
        again,
        f'{{"instances": [{row}, {again}]}}',
        f'{{"instances": [{row}], "instances": []}}',
        '{"customer": "a", "customer": "b"}',
    ):
        status, said = server.post("/predict", sent.encode())
        assert (status, "is there twice" in said["detail"]) == (400, True), said
    # A colon inside a text is no key.
    assert server.post("/predict", GOOD | {"région.x y": 'a": "b:c'})[0] == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sent", [[], 5, "text", None, True])
def test_a_body_that_is_no_object_is_refused(server: Server, sent: Any, way: str) -> None:
    assert server.post("/predict", sent, way)[0] == 422
    assert server.post("/invocations", sent, way)[0] == 400


def test_other_methods_types_and_addresses_have_their_own_answers(server: Server) -> None:
    ask = server.client.open
    for method, path, kind, status in (
        ("GET", "/predict", None, 405),
        ("DELETE", "/health", None, 405),
        ("POST", "/predict", "text/plain", 415),
        ("POST", "/predict", None, 415),
        ("POST", "/invocations", "text/csv", 415),
        ("GET", "/nowhere", None, 404),
    ):
        answer = ask(path, method=method, data=b"{}", content_type=kind)
        assert (answer.status_code, answer.mimetype) == (status, MIMETYPE), path
    assert "POST" in ask("/predict").headers["Allow"]


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_is_too_large_is_a_413(server: Server, way: str) -> None:
    rows = {"instances": [GOOD] * 5000}
    assert server.post("/predict", rows, way)[0] == 413


def test_a_body_in_chunks_that_is_too_large_is_a_413_too(server: Server) -> None:
    for padding, status in ((10, 200), (200_000, 413)):
        sent = json.dumps(GOOD).encode() + b" " * padding
        answer = server.client.post(
            "/predict",
            input_stream=BytesIO(sent),
            content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert answer.status_code == status, padding


def test_deep_nesting_beside_a_colon_too_many_is_no_defect(server: Server) -> None:
    for depth in (900, 1000, 1020):
        sent = b'{"calls": ":", "plan": ' + b"[" * depth + b"]" * depth + b"}"
        assert server.post("/predict", sent)[0] in {400, 422}


def test_without_a_model_it_says_so_and_when_to_come_again(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for path in ("/predict", "/invocations"):
        answer = server.client.post(path, json=GOOD)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    for path in ("/ready", "/ping", "/model"):
        assert server.client.get(path).status_code == 503
    for path in ("/health", "/version", "/metrics", "/openapi.json", "/docs"):
        assert server.client.get(path).status_code == 200, path
    assert server.client.get("/ready").json["problem"] == "the watcher is not there"
    place.note(tmp_path, {"error": "the registry names no production model", "failures": 0})
    assert "names no production model" in server.client.post("/predict", json=GOOD).json["detail"]


def test_it_swaps_between_two_requests_to_a_higher_and_to_a_lower_version(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for version in (1, 2, 1):
        placed = serve_fixtures.put(tmp_path, version)
        status, said = server.post("/predict", GOOD)
        assert (status, said["model_version"]) == (200, version)
        assert said["churn_probability"] == placed.probability(GOOD)
        assert server.client.get("/ready").json["model_version"] == version
        assert server.client.get("/model").json["version"] == version


def test_a_model_that_cannot_be_read_leaves_the_one_before_and_ready_says_why(
    tmp_path: Path, capsys: Any
) -> None:
    server = Server(tmp_path)
    serve_fixtures.put(tmp_path, 1)
    assert server.post("/predict", GOOD)[1]["model_version"] == 1
    facts = place.read(tmp_path, place.CURRENT)
    assert facts is not None
    place.replace_current(tmp_path, facts | {"version": 2, "folder": "nowhere"})
    assert server.post("/predict", GOOD)[1]["model_version"] == 1
    said = server.client.get("/ready").json
    assert (said["ready"], said["model_version"]) == (True, 1)
    assert "servable.json is missing" in said["problem"]
    damaged = tmp_path / "of-1" / "servable.json"
    text = damaged.read_text()
    damaged.write_text(text.replace('"at": 0', '"at": 1', 1))
    place.replace_current(tmp_path, facts | {"version": 2})
    time.sleep(1.1)  # it was tried a moment ago
    assert server.post("/predict", GOOD)[1]["model_version"] == 1
    assert "not as it was put there" in server.client.get("/ready").json["problem"]
    damaged.write_text(text)
    (tmp_path / place.CURRENT).write_text("{")
    assert server.post("/predict", GOOD)[1]["model_version"] == 1
    (tmp_path / place.CURRENT).unlink()
    assert server.post("/predict", GOOD)[1]["model_version"] == 1
    serve_fixtures.put(tmp_path, 4)
    until_taken(server, 4)
    facts = place.read(tmp_path, place.CURRENT)
    assert facts is not None
    place.replace_current(tmp_path, {n: v for n, v in facts.items() if n != "digest"})
    assert server.post("/predict", GOOD)[1]["model_version"] == 4
    assert "digest" in server.client.get("/ready").json["problem"]
    place.replace_current(tmp_path, facts)
    until_taken(server, 4)
    assert server.client.get("/ready").json["problem"] == "the watcher is not there"


@pytest.mark.parametrize("way", WAYS)
def test_a_defect_is_a_500_of_the_same_shape_and_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, way: str
) -> None:
    serve_fixtures.put(tmp_path, 1)
    server = Server(tmp_path)
    monkeypatch.setattr("serve.body.parse", lambda _: 1 / 0)
    status, said = server.post("/predict", GOOD, way)
    assert (status, said["detail"]) == (500, "a defect of the server's: its log says more")
    assert "ZeroDivisionError" in caplog.text


def until_taken(server: Server, version: int) -> None:
    """A model that could not be taken is tried again, but not with every request."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if server.client.get("/ready").json["problem"] == "the watcher is not there":
            break
        time.sleep(0.05)
    said = server.client.get("/ready").json
    assert (said["model_version"], said["problem"]) == (version, "the watcher is not there")


def test_ready_says_when_the_watcher_has_gone_silent(tmp_path: Path) -> None:
    serve_fixtures.put(tmp_path, 1)
    server = Server(tmp_path)
    silent = "the watcher has said nothing for 100 s"
    # Less than nothing: it died, and then the clock was set back.
    for age, problem in ((1, None), (100, silent), (-1, None), (-100, silent)):
        place.note(tmp_path, {"error": None, "at": time.time() - age, "reached": time.time() - age})
        assert server.client.get("/ready").json["problem"] == problem


def test_the_page_is_sent_as_it_was_last_made_and_only_once(tmp_path: Path) -> None:
    client = serve_fixtures.client(tmp_path)
    assert "The page is being made" in client.get("/").text
    (tmp_path / PAGE).write_text("<title>page</title>")
    first = client.get("/")
    assert (first.text, first.mimetype) == ("<title>page</title>", "text/html")
    again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.text) == (304, "")
    (tmp_path / PAGE).write_text("<title>another page</title>")
    assert client.get("/", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_a_server_without_the_pages_code_shows_what_make_report_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(Remaker, "is_possible", staticmethod(lambda: False))
    client = serve_fixtures.client(tmp_path)
    assert "make report</code> makes it where the pipeline runs" in client.get("/").text
    (files.REPORTS / PAGE).mkdir(parents=True)  # what cannot be read is as good as not there
    assert client.get("/").status_code == 200
    (files.REPORTS / PAGE).rmdir()
    files.write_bytes(files.REPORTS / PAGE, b"<title>of make report</title>")
    assert client.get("/").text == "<title>of make report</title>"
    (tmp_path / PAGE).write_text("<title>of the watcher</title>")
    assert client.get("/").text == "<title>of the watcher</title>"


def test_evidentlys_report_is_there_or_a_404(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "DRIFT_HTML", tmp_path / "reports" / "drift.html")
    assert server.client.get("/drift.html").status_code == 404
    files.write_bytes(files.DRIFT_HTML, b"<title>drift</title>")
    assert server.client.get("/drift.html").text == "<title>drift</title>"


def test_a_customer_is_answered_by_id_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/online.db"
    server = Server(tmp_path, online_store=url)
    placed = serve_fixtures.put(tmp_path, 1)
    assert server.post("/predict", {"customer": "00123"})[0] == 503  # not filled yet
    store = online.engine(url)
    stored = json.dumps(GOOD | {"of another contract": 1})
    row = {"customer": "00123", "month": "2026-01", "features": stored}
    assert online.replace(store, [row], "key") == 1
    status, said = server.post("/predict", {"customer": "00123"})
    assert (status, said["id"]) == (200, "00123")
    assert said["churn_probability"] == placed.probability(GOOD)
    assert server.post("/predict", {"customer": "123"})[0] == 404
    assert server.post("/predict", {"customer": ""})[0] == 404
    assert server.faults({"customer": None}).keys() == set(FEATURES)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the system's threads in /proc")
def test_asking_by_id_again_and_again_takes_no_more_threads(tmp_path: Path) -> None:
    server = Server(tmp_path, online_store=f"sqlite:///{tmp_path}/online.db")
    serve_fixtures.put(tmp_path, 1)
    server.post("/predict", {"customer": "00123"})
    threads = len(list(Path("/proc/self/task").iterdir()))
    for _ in range(3 * online.THREADS):
        server.post("/predict", {"customer": "00123"})
    assert len(list(Path("/proc/self/task").iterdir())) < threads + online.THREADS


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:////proc/no/such/folder/online.db", "unable to open database file"),
        ("postgresql+psycopg2://u:p@127.0.0.1:9/online", "Connection refused"),
        ("oracle+cx_oracle://u:p@127.0.0.1/online", "No module named"),
        ("sqlite:///x?uri=perhaps", "String is not true/false: 'perhaps'"),
    ],
)
def test_a_store_that_cannot_be_filled_is_one_line(url: str, why: str) -> None:
    with pytest.raises(UserError, match=r"serve\.online_store cannot be filled") as refused:
        features.fill(url, iter(()), "key")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_wrong_with_the_online_store_is_a_503(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/online.db"
    serve_fixtures.put(tmp_path, 1)
    rows = {"broken": "{bad", "of another contract": '{"calls": 1}'}
    stored = [{"customer": n, "month": "2026-01", "features": f} for n, f in rows.items()]
    online.replace(online.engine(url), stored, "key")
    server = Server(tmp_path, online_store=url)
    for customer in rows:
        status, said = server.post("/predict", {"customer": customer})
        assert (status, "type `make features`" in said["detail"]) == (503, True), said
    status, said = server.post("/predict", {"customer": "x" * 10_000})
    assert (status, len(said["detail"]) < 100) == (404, True)
    (tmp_path / "online.db").unlink()
    again = [{"customer": "broken", "month": "2026-01", "features": json.dumps(GOOD)}]
    online.replace(online.engine(url), again, "key")
    assert server.post("/predict", {"customer": "broken"})[0] == 200  # it is seen at once
    nowhere = Server(tmp_path, online_store="postgresql+nodriver://localhost/x")
    assert nowhere.post("/predict", {"customer": "a"})[0] == 503


def test_the_bound_of_a_body_has_an_old_name_that_is_still_read() -> None:
    def section(**changes: Any) -> params.Serve:
        given = {k: v for k, v in params.read()["serve"].items() if k != "max_body"}
        return params.parse(params.Serve, "serve", given | changes)

    assert section(max_body=1000).most_bytes == 1000
    assert section(max_body_megabytes=0.5).most_bytes == 2**19
    assert section().most_bytes == params.MAX_BODY
    with pytest.raises(UserError, match="max_body is there too, which is its new name"):
        section(max_body=1000, max_body_megabytes=0.5)


def test_more_customers_than_the_bound_are_a_413_in_every_form(tmp_path: Path) -> None:
    server = Server(tmp_path, max_rows=3)
    serve_fixtures.put(tmp_path, 1)
    names, values = list(GOOD), list(GOOD.values())
    for number, status in ((3, 200), (4, 413)):
        rows = [GOOD] * number
        split = {"columns": names, "data": [values] * number}
        for way in WAYS:
            assert server.post("/predict", {"instances": rows}, way)[0] == status
            assert server.post("/invocations", {"dataframe_records": rows}, way)[0] == status
            found, said = server.post("/invocations", {"dataframe_split": split}, way)
            assert found == status
    assert said["detail"] == "the request has 4 rows, at most 3 are taken: split it"


def test_an_online_store_that_says_nothing_is_a_503_however_many_ask(tmp_path: Path) -> None:
    customers, patience = 2 * online.THREADS, 0.5
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql+psycopg2://u:p@127.0.0.1:{port}/online"
        store = online.Online(url, patience)
        begun = time.monotonic()
        asked = [gevent.spawn(refused_by, store) for _ in range(customers)]
        gevent.joinall(asked, timeout=60)
        assert time.monotonic() - begun < 2.5
    why = "the online store cannot be asked (no answer within its time): type `make features`"
    assert [one.value for one in asked] == [(503, why)] * customers


def refused_by(store: online.Online) -> tuple[int, str]:
    with pytest.raises(Problem) as refused:
        store.features("00123", frozenset())
    return refused.value.status, refused.value.detail


def test_figures_count_requests_predictions_and_swaps(tmp_path: Path) -> None:
    server = Server(tmp_path)

    def figure(name: str) -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = {
        name: figure(name)
        for name in (
            'churn_requests_total{route="/predict",status="200"}',
            'churn_requests_total{route="/predict",status="422"}',
            'churn_request_seconds_count{route="/predict"}',
            "churn_predictions_total",
            "churn_swaps_total",
        )
    }
    serve_fixtures.put(tmp_path, 1)
    server.post("/predict", GOOD)
    server.post("/predict", {"instances": [GOOD] * 5}, "flask")
    server.post("/predict", {})
    after = [figure(name) - value for name, value in before.items()]
    assert after == [2, 1, 3, 6, 1]
    place.note(tmp_path, {"error": None, "failures": 7, "reached": 1.0})
    assert figure("churn_registry_failures_total") == 7


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_mlflows_protocol_answers_labels(tmp_path: Path, estimator: str, way: str) -> None:
    placed = serve_fixtures.put(tmp_path, 1, estimator)
    server = Server(tmp_path)
    rows = [GOOD | {"calls": float(100 * n)} for n in range(10)]
    expected = [int(placed.probability(row) >= 0.5) for row in rows]
    assert 0 < sum(expected) < 10
    assert server.post("/invocations", {"dataframe_records": rows}, way)[1] == {
        "predictions": expected
    }
    columns = sorted(FEATURES, reverse=True)
    split = {"columns": columns, "data": [[row[name] for name in columns] for row in rows]}
    assert server.post("/invocations", {"dataframe_split": split}, way)[1] == {
        "predictions": expected
    }


@pytest.mark.parametrize(
    "sent",
    [
        {}, {"dataframe_records": {}}, {"dataframe_records": [1]}, {"dataframe_records": []},
        {"dataframe_split": []}, {"dataframe_split": {"columns": ["calls"], "data": [[1]]}},
        {"dataframe_split": {"columns": list(FEATURES), "data": [[1]]}},
        {"dataframe_split": {"columns": list(FEATURES), "data": 5}},
        {"dataframe_split": {"columns": [*FEATURES, "calls"], "data": [[1, True, "NA", "", 1]]}},
        {"dataframe_split": {"columns": list(FEATURES), "data": []}, "dataframe_records": []},
        {"dataframe_records": [GOOD | {"calls": "many"}]},
        {"dataframe_records": [GOOD | {"calls": [1]}]},
        {"dataframe_records": [GOOD | {"calls": "1e400"}]},
        {"dataframe_records": [GOOD | {"plan": ["NA"]}]},
    ],
)  # fmt: skip
def test_what_is_not_mlflows_protocol_is_a_400(server: Server, sent: Any) -> None:
    assert server.post("/invocations", sent)[0] == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys((*FEATURES, "customer", "instances", "extra"), JSON_VALUES),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sent=ROWS | st.lists(ROWS, max_size=3).map(lambda rows: {"instances": rows}) | JSON_VALUES)
def test_no_json_makes_a_500_and_both_ways_answer_alike(server: Server, sent: Any) -> None:
    for path in ("/predict", "/invocations"):
        found = server.post(path, sent)
        assert found[0] in {200, 400, 404, 422, 503}, found
        assert found == server.post(path, sent, "flask")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sent=st.binary(max_size=200))
def test_no_bytes_make_a_500(server: Server, sent: bytes) -> None:
    for path in ("/predict", "/invocations"):
        assert server.post(path, sent)[0] in {200, 400, 404, 422, 503}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_many_are_refused_where_one_of_them_is(server: Server, rows: list[Any]) -> None:
    # An id alone is another question, and so are instances.
    rows = [row for row in rows if row.keys() - {"customer"} and "instances" not in row]
    alone = {server.post("/predict", row)[0] for row in rows}
    together = server.post("/predict", {"instances": rows})[0]
    assert together == (400 if 400 in alone else max(alone, default=200))
