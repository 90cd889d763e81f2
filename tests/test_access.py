"""Who may ask what: names and tokens as a pure core, then over gunicorn on a real socket."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import serve_fixtures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ports import free_port
from serve_fixtures import GOOD

from serve import access
from serve.access import OPEN, Rules, decide
from serve.problems import MIMETYPE
from stages.shared import files, params
from stages.shared.errors import UserError

TOKEN = "correct-horse-battery"  # noqa: S105 - of these tests alone
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what must not be open
EVIL = "attacker.example"
PATIENCE = 60.0
BODY = json.dumps(GOOD).encode()
# Everything that can hold a customer, or says what the model is.
KEPT = ("/", "/drift.html", "/model", "/docs", "/openapi.json", "/nowhere")
ASKED = ("/predict", "/explain", "/invocations")


def serve(**changes: Any) -> params.Serve:
    return params.parse(params.Serve, "serve", {**params.read()["serve"], **changes})


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def status(rules: Rules, path: str, host: str | None, authorization: str | None = None) -> int:
    problem = decide(rules, path, host, authorization)
    return problem.status if problem else 200


# --- names ---


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("localhost", "localhost"), ("LocalHost:8000", "localhost"), ("localhost.", "localhost"),
        ("localhost.:80", "localhost"), ("[::1]:8000", "[::1]"), ("127.0.0.1:", "127.0.0.1"),
        ("", ""), (":8000", ""), ("a b", ""), ("localhost@evil", ""), ("localhost/evil", ""),
        ("localhost:80:80", ""), ("localhost:port", ""), ("::1", ""), ("localhost\n", ""),
    ],
)  # fmt: skip
def test_a_name_is_what_a_host_header_has_before_its_port(host: str, found: str) -> None:
    assert access.name_of(host) == found


def test_names_are_loopbacks_the_machines_own_and_those_of_the_settings() -> None:
    rules = Rules(access.hosts(serve(host="10.1.2.3", allowed_hosts=["Api", "[FE80::1]"])), None)
    for host in ("localhost", "127.0.0.1:1", "[::1]:2", "10.1.2.3", "api:8000", "[fe80::1]"):
        assert status(rules, "/model", host) == 200, host
    for host in (EVIL, f"localhost.{EVIL}", "10.1.2.4", "[::2]", "", "api.", EVERYWHERE):
        expected = 200 if host == "api." else 421
        assert status(rules, "/model", host) == expected, host
    assert status(rules, "/model", None) == 400
    assert EVERYWHERE not in access.hosts(serve(host=EVERYWHERE))


def test_a_refused_name_is_told_with_the_parameter_that_allows_it() -> None:
    problem = decide(Rules(frozenset({"localhost"}), None), "/predict", f"{EVIL}:1", None)
    assert problem
    assert "serve.allowed_hosts" in problem.detail
    assert EVIL in problem.detail


@given(host=st.text(max_size=30) | st.from_regex(r"[a-z.]{1,9}(:[0-9]{1,5})?", fullmatch=True))
def test_no_host_but_the_listed_is_let_in(host: str) -> None:
    allowed = frozenset({"localhost", "127.0.0.1", "[::1]"})
    name = re.sub(r"\.?(:\d*)?$", "", host, flags=re.ASCII).lower()
    assert (status(Rules(allowed, None), "/", host) == 200) == (name in allowed)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("allowed_hosts", ["api:8000"], "not a host's name: write it as churn.example.org"),
        ("allowed_hosts", ["http://api"], "not a host's name"),
        ("allowed_hosts", ["*"], "not a host's name"),
        ("allowed_hosts", "api", "valid list"),
        ("trusted_proxies", ["proxy"], "not an IP address or a network such as 10.0.0.0/8"),
        ("trusted_proxies", ["*"], "not an IP address"),
        ("trusted_proxies", ["10.0.0.1/8"], "not an IP address"),
    ],
)
def test_a_name_or_a_proxy_that_is_none_is_one_line(key: str, value: object, said: str) -> None:
    with pytest.raises(UserError, match=rf"serve\.{key}") as refused:
        serve(**{key: value})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_lists_come_from_the_environment_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_ALLOWED_HOSTS", "api, churn.example.org,[::1],")
    monkeypatch.setenv("SERVE_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    found = params.serve()
    assert found.allowed_hosts == ["api", "churn.example.org", "::1"]
    assert found.trusted_proxies == ["10.0.0.0/8", "::1"]


# --- tokens ---


def test_a_token_is_shown_as_bearer_or_as_anybodys_password() -> None:
    rules = Rules(frozenset({"localhost"}), TOKEN.encode())
    for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("me", TOKEN), basic("", TOKEN)):
        assert status(rules, "/", "localhost", right) == 200, right
    for wrong in (
        None, "", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer",
        f"Token {TOKEN}", basic(TOKEN, ""), basic("me", f"{TOKEN}:"), "Basic \xff", "Bearer \u2028",
        f"Bearer {TOKEN},Bearer {TOKEN}",
    ):  # fmt: skip
        assert status(rules, "/", "localhost", wrong) == 401, wrong
    for path in OPEN:
        assert status(rules, path, EVIL) == 200


@given(authorization=st.text(max_size=60), path=st.text(max_size=20))
def test_nothing_but_the_token_lets_in(authorization: str, path: str) -> None:
    if path not in OPEN:
        rules = Rules(frozenset({"localhost"}), TOKEN.encode())
        assert status(rules, path, "localhost", authorization) == 401


def test_a_colon_may_be_in_a_token() -> None:
    rules = Rules(frozenset({"localhost"}), b"a:b:c:0123456789")
    assert status(rules, "/", "localhost", basic("me", "a:b:c:0123456789")) == 200


@pytest.mark.parametrize("host", [EVERYWHERE, "10.1.2.3", "::", "churn.example.org", ""])
def test_a_public_address_without_a_token_is_one_line(host: str) -> None:
    with pytest.raises(UserError, match="without a token: set SERVE_TOKEN") as refused:
        access.rules(serve(host=host))
    assert "\n" not in str(refused.value)
    assert "serve.token_file" in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_open_unless_there_is_a_token(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert access.rules(serve(host=host)).token is None
    monkeypatch.setenv(access.TOKEN, TOKEN)
    assert access.rules(serve(host=host)).token == TOKEN.encode()


@pytest.mark.parametrize("token", ["short", "a" * 15, "with a blank in the middle", "ü" * 20])
def test_a_token_that_is_none_is_one_line_that_does_not_show_it(
    token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(token + "\n")
    with pytest.raises(UserError, match=r"serve\.token_file .* is not one: it needs 16") as refused:
        access.rules(serve(token_file=str(path)))
    assert token not in str(refused.value)
    monkeypatch.setenv(access.TOKEN, token)
    with pytest.raises(UserError, match="SERVE_TOKEN is not one"):
        access.rules(serve())


def test_a_token_is_read_from_its_file_without_the_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\r\n")
    found = access.rules(serve(host=EVERYWHERE, token_file=str(tmp_path / "token")))
    assert found.token == TOKEN.encode()


def test_a_token_is_made_once_where_its_file_is_not_there(tmp_path: Path) -> None:
    path, found = tmp_path / "new" / "token", []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        found.append(access.rules(serve(host=EVERYWHERE, token_file=str(path))).token)

    starts = [threading.Thread(target=start) for _ in range(8)]
    for one in starts:
        one.start()
    for one in starts:
        one.join()
    assert found == [path.read_bytes().strip()] * 8
    assert len(path.read_text().strip()) == 48
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["token"]


@pytest.mark.parametrize("kind", ["folder", "below a file"])
def test_a_token_file_that_is_none_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "token"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("")
        path /= "token"
    with pytest.raises(UserError, match=r"can be neither read nor made") as refused:
        access.rules(serve(token_file=str(path)))
    assert "\n" not in str(refused.value)


# --- over gunicorn ---


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    text: str


class Server(NamedTuple):
    port: int
    log: Path

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request; `Content_Type` is sent as Content-Type, `SCRIPT_NAME_` as SCRIPT_NAME."""
        sent = {"Content-Type": "application/json"} if body else {}
        for name, value in headers.items():
            sent[name[:-1] if name.endswith("_") else name.replace("_", "-")] = value
        return self.send("POST" if body else "GET", path, body, list(sent.items()))

    def send(
        self, method: str, path: str, body: bytes | None, headers: list[tuple[str, str]]
    ) -> Answer:
        """One request with just these headers, and Host where it is not among them."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        ) as connection:
            named = any(name.lower() == "host" for name, _ in headers)
            connection.putrequest(method, path, skip_host=named, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value.encode("latin-1"))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read().decode())


def command(*arguments: str) -> list[str]:
    config = str(files.ROOT / "serve/gunicorn.conf.py")
    return [sys.executable, "-m", "gunicorn", "--config", config, "--workers", "1", *arguments]


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    server = Server(free_port(), folder / "log")
    (folder / "counts").mkdir(exist_ok=True)
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command(*arguments), cwd=files.ROOT, stdout=log, stderr=log,
            env=os.environ | {
                "PORT": str(server.port), "SERVE_FOLDER": str(folder),
                "PROMETHEUS_MULTIPROC_DIR": str(folder / "counts"), **environment,
            },
        )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if server.ask("/ready").status == 200:
                    break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(server.log.read_text())
            time.sleep(0.05)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    serve_fixtures.put(folder, 1)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Server]:
    """On loopback, as it comes; with what a shell may have in its environment."""
    odd = {"FORWARDED_ALLOW_IPS": "*", "SCRIPT_NAME": "/of-the-shell"}
    with running(folder, **odd) as server:
        yield server


HOSTILE = (
    "SCRIPT_NAME", "PATH_INFO", "Script-Name", "X-Script-Name", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Forwarded-Prefix",
    "X-Forwarded-Port", "X-Forwarded-For", "X-Forwarded-Server", "Forwarded", "X-Original-URL",
    "X-Rewrite-URL", "X-Original-Host", "X-Host", "Front-End-Https", "Referer", "Origin",
)  # fmt: skip
VALUES = st.sampled_from(
    [EVIL, f"//{EVIL}", f"http://{EVIL}", f"/{EVIL}", f"host={EVIL};proto=https", "https", "on",
     "/predict", "/", "ssl", "443", f"{EVIL}:443", f"\\\\{EVIL}", "/docs/..", ""]
) | st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"),
            max_size=20).map(lambda text: f"{EVIL}{text.strip()}")  # fmt: skip
PATHS = st.sampled_from(
    ["/", "/docs", "//docs", "/docs/", "/predict", "//predict", "/nowhere", "/model/", "/health/",
     f"//{EVIL}", f"//{EVIL}/..", f"/\\{EVIL}", "/%2f%2f" + EVIL, f"http://{EVIL}/docs", "/./docs"]
)  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=PATHS,
    headers=st.lists(st.tuples(st.sampled_from(HOSTILE), VALUES), max_size=6),
    host=st.none() | VALUES,
)
def test_no_header_changes_where_a_link_or_a_redirect_leads(
    plain: Server, path: str, headers: list[tuple[str, str]], host: str | None
) -> None:
    sent = [*headers, *([("Host", host)] if host is not None else [])]
    found = plain.send("GET", path, None, sent)
    expected = plain.send("GET", path, None, [])
    if host is not None:
        name = access.name_of(host)
        assert (found.status == 421) == (name not in access.hosts(params.serve())), found
        assert json.loads(found.text)["detail"].startswith("this server does not answer to")
    else:  # the same as without any of them
        assert (found.status, found.text) == (expected.status, expected.text)
    assert found.status in {200, 404, 405, 421}, found
    assert not [value for name, value in found.headers if EVIL in value or name == "Location"]
    if "html" in dict(found.headers)["Content-Type"]:
        assert EVIL not in found.text


def test_a_fresh_path_answers_whatever_headers_say(plain: Server) -> None:
    for name in HOSTILE:
        for value in (EVIL, f"/{EVIL}", "https"):
            answer = plain.send(
                "POST", "/predict", BODY, [("Content-Type", "application/json"), (name, value)]
            )
            assert answer.status == 200, (name, value, answer)


def test_no_other_name_reads_a_customer_and_probes_go_by_address(plain: Server) -> None:
    for path in ASKED:  # of these two never reach Flask
        answer = plain.ask(path, BODY, Host=EVIL)
        assert (answer.status, dict(answer.headers)["Content-Type"]) == (421, MIMETYPE)
    for path in KEPT:
        assert plain.ask(path, Host=EVIL).status == 421, path
        assert plain.ask(path, Host="localhost:80").status in {200, 404}, path
    for path in OPEN:
        assert plain.ask(path, Host="10.2.3.4:8000").status == 200, path
        assert plain.ask(path, Host="a b]\\").status == 200, path


def test_only_a_proxy_that_is_named_says_where_the_server_lies(folder: Path) -> None:
    with running(folder, SERVE_TRUSTED_PROXIES="127.0.0.0/8") as server:
        assert server.ask("/churn/docs").status == 404
        assert server.ask("/churn/docs", SCRIPT_NAME_="/churn").status == 200
        assert server.ask("/churn/predict", BODY, SCRIPT_NAME_="/churn").status == 200
        odd = server.ask("/docs", X_Forwarded_Proto="https", X_Forwarded_Ssl="off")
        assert odd.status == 200
    with running(folder, SERVE_TRUSTED_PROXIES="10.0.0.0/8,127.0.0.2") as server:
        assert server.ask("/churn/docs", SCRIPT_NAME_="/churn").status == 404


def test_on_a_public_address_nobody_reads_a_customer_without_the_token(folder: Path) -> None:
    with running(folder, SERVE_HOST=EVERYWHERE, SERVE_TOKEN=TOKEN) as server:
        for path in ASKED:
            for wrong in ({}, {"Authorization": "Bearer of-somebody-else"}):
                answer = server.ask(path, BODY, **wrong)
                assert (answer.status, MIMETYPE) == (401, dict(answer.headers)["Content-Type"])
                assert json.loads(answer.text)["status"] == 401
                schemes = [value.split()[0] for name, value in answer.headers
                           if name == "WWW-Authenticate"]  # fmt: skip
                assert schemes == ["Bearer", "Basic"]
        for path in KEPT:
            assert server.ask(path).status == 401, path
            assert server.ask(path, Authorization=basic("x", TOKEN)).status in {200, 404}, path
        for right in (f"Bearer {TOKEN}", basic("anybody", TOKEN)):
            assert server.ask("/predict", BODY, Authorization=right).status == 200
            assert server.ask("/explain", BODY, Authorization=right).status == 200
        for path in OPEN:
            assert server.ask(path).status == 200, path
        assert (
            server.ask("/predict", BODY, Authorization=f"Bearer {TOKEN}", Host=EVIL).status == 421
        )
        counted = server.ask("/metrics").text
        assert 'churn_requests_total{route="elsewhere",status="401"} 12.0' in counted
        assert TOKEN not in server.log.read_text()


def test_every_answer_says_what_a_browser_may_do_with_it(plain: Server) -> None:
    json_of_a_kind = {"Content_Type": "application/json; charset=utf-8"}  # Flask answers that
    for answer in (
        *(plain.ask(path) for path in (*KEPT, *OPEN)),
        *(plain.ask(path, BODY) for path in (*ASKED, "/model")),
        plain.ask("/predict", b"{"), plain.ask("/predict", BODY, **json_of_a_kind),
        plain.ask("/model", Host=EVIL),
    ):  # fmt: skip
        found = [(name.lower(), value) for name, value in answer.headers]
        headers = dict(found)
        assert len(found) == len(headers), found  # none is there twice
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in {"no-store", "no-cache, private"}
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert policy.endswith("frame-ancestors 'none'")
        assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


def refused(arguments: list[str], **environment: str) -> str:
    done = subprocess.run(
        arguments, cwd=files.ROOT, capture_output=True, text=True, timeout=PATIENCE,
        env=os.environ | {"PORT": str(free_port()), **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    # gunicorn says that it starts, where it is its command line that names the address.
    (line,) = [line for line in done.stderr.splitlines() if "[INFO] Starting" not in line]
    assert line.startswith("error: the server would listen at ")
    return line


def test_without_a_token_no_worker_starts_on_a_public_address() -> None:
    serving = [sys.executable, "-m", "serve", f"--port={free_port()}"]
    assert EVERYWHERE in refused(serving, SERVE_HOST=EVERYWHERE)
    assert EVERYWHERE in refused(command(), SERVE_HOST=EVERYWHERE)
    bound = f"{EVERYWHERE}:{free_port()}"
    assert EVERYWHERE in refused(command("--bind", bound))
    assert EVERYWHERE in refused(command(), GUNICORN_CMD_ARGS=f"--bind={bound}")
