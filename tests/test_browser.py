"""The page in a real browser: Debian's Chromium, driven by Playwright, on a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import serve_fixtures
import test_evidently_page
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from bench import page as made_up
from page import render
from page.facts import Facts
from serve import access
from serve.place import PAGE
from stages.shared import contract, files

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.filterwarnings("ignore")  # of the tools' own
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SCRIPT = "<script>window.broken = 1</script>"
NOTHING = Facts(as_of="2026-01-31T08:00:00+00:00", next_step="make run")
FORM = {
    "version": 1,
    "id": "customer",
    "features": contract.to_dict(serve_fixtures.FEATURES),
    "example": serve_fixtures.GOOD,
}
PARTS = (
    "Is the world still the one it was trained on?",
    "How far has each column moved?",
    "Is the newest candidate better?",
    "What happened, on whose word?",
    "What would it say about this customer?",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = made_up.browser()
    assert path, "no Chromium here: make test-browser installs it on Debian"
    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server finds its model and its page."""
    folder = tmp_path_factory.mktemp("serving")
    serve_fixtures.put(folder, 1)
    live = replace(made_up.facts(12, 30), form=FORM)
    (folder / PAGE).write_text(render.page(live, live=True))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The application, answering on a port."""
    with answering(folder) as address:
        yield address


@contextmanager
def answering(folder: Path) -> Iterator[str]:
    application = serve_fixtures.client(folder).application
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """A tab with the page in it; an error of its script, or a refused one, is a failure."""
    with browser.new_context(**{"viewport": WIDE, **context}) as kept:
        tab, said = kept.new_page(), []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(url)
        yield tab
        assert said == []


@contextmanager
def written(browser: Browser, facts: Facts, folder: Path, **context: Any) -> Iterator[Page]:
    """A tab with the page of some facts, from a file."""
    path = folder / "report.html"
    path.write_text(render.page(facts))
    with opened(browser, path.as_uri(), **context) as tab:
        yield tab


def faults(tab: Page) -> list[str]:
    """What axe finds."""
    found = Axe().run(tab).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


def too_wide(tab: Page) -> int:
    """By how many pixels the page is wider than the window."""
    root = "document.documentElement"
    by: int = tab.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
    return by


def test_every_part_is_there_under_its_question(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        expect(tab).to_have_title("Version 2 is in production · churn_model")
        assert tab.locator("h2:visible").all_inner_texts() == list(PARTS)
        assert tab.locator("h1").count() == 1
        expect(tab.locator("#time .wide svg")).to_be_visible()
        expect(tab.locator("#ledger")).to_contain_text("2 events, chain verified")


def test_the_first_screen_answers_which_model_since_when_and_why(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as tab:
        for text in ("Version 2 is in production", "15 July 2021", "0.731", "Next:"):
            expect(tab.get_by_text(text).first).to_be_in_viewport()


def test_the_page_says_how_old_its_facts_are(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        expect(tab.locator("#age")).to_have_text(r", \d+ days ago".replace("\\d+", tab.evaluate(
            "String(Math.round((Date.now() - Date.parse('2024-01-31T08:00:00Z')) / 86400000))"
        )))  # fmt: skip


# --- the form ---


def test_the_form_asks_the_model_and_says_which_version_answered(
    browser: Browser, address: str, folder: Path
) -> None:
    expected = 100 * serve_fixtures.put(folder, 1).probability(serve_fixtures.GOOD)
    with opened(browser, address) as tab:
        tab.get_by_role("button", name="Ask the model").click()
        expect(tab.locator("#answer .big")).to_have_text(f"{expected:.1f}%")
        expect(tab.locator("#answer")).to_contain_text("by version 1")
        expect(tab.locator("#answer")).to_contain_text("TreeSHAP, by LightGBM")
        assert tab.locator("#answer tbody tr").count() == len(serve_fixtures.FEATURES)
        assert faults_without_policy(browser, address) == []


def faults_without_policy(browser: Browser, address: str) -> list[str]:
    with opened(browser, address, bypass_csp=True) as tab:
        tab.get_by_role("button", name="Ask the model").click()
        expect(tab.locator("#answer .big")).to_be_visible()
        return faults(tab)


def test_an_answer_that_comes_late_is_not_shown_under_another_question(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as tab:
        held: list[Any] = []

        def hold(route: Any) -> None:
            if held:
                route.continue_()
            else:
                held.append(route)

        tab.route("**/explain", hold)
        button = tab.get_by_role("button", name="Ask the model")
        button.click()
        expect(tab.locator("#answer .big")).to_be_visible()
        tab.get_by_label("calls").fill("995")
        button.click()
        expect(tab.locator("#answer table")).to_have_count(1)
        with tab.expect_response("**/explain"):
            held[0].continue_()
        tab.wait_for_timeout(200)
        expect(tab.locator("#answer table")).to_have_count(1)
        expect(tab.locator("#answer tr", has_text="calls").locator("td").first).to_have_text("995")


def test_a_value_with_blanks_in_it_is_sent_as_it_is(browser: Browser, tmp_path: Path) -> None:
    plan = {"type": "category", "values": ["a", " a  b "]}
    form = {"version": 1, "id": "customer", "features": {"plan": plan}, "example": {}}
    (tmp_path / "report.html").write_text(
        render.page(replace(made_up.facts(6, 3), form=form), live=True)
    )
    with browser.new_context() as kept:  # that nobody answers is in the browser's own log
        tab = kept.new_page()
        tab.goto((tmp_path / "report.html").as_uri())
        values = tab.get_by_label("plan").evaluate("field => [...field.options].map(o => o.value)")
        assert values == ["", "a", " a  b "]


def test_an_empty_field_is_not_known_and_what_is_wrong_is_named(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as tab:
        tab.get_by_label("région.x y").fill("")
        tab.get_by_label("paperless").select_option("")
        sent = []
        tab.on("request", lambda request: sent.append(request.post_data))
        tab.get_by_role("button", name="Ask the model").click()
        expect(tab.locator("#answer .big")).to_be_visible()
        asked = json.loads(sent[0])
        assert (asked["région.x y"], asked["paperless"], asked["calls"]) == (None, None, 3.5)


def test_a_customer_that_no_month_has_is_said(browser: Browser, address: str) -> None:
    with browser.new_context() as kept:  # a refusal is in the browser's own log
        tab = kept.new_page()
        tab.goto(address)
        tab.get_by_label("or only customer").fill("nobody")
        tab.get_by_role("button", name="Ask the model").click()
        expect(tab.locator("#answer .wrong")).to_be_visible()


def test_a_value_outside_the_contract_is_refused_before_it_is_sent(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as tab:
        sent = []
        tab.get_by_label("calls").fill("-1")
        tab.on("request", lambda request: sent.append(request.url))
        tab.get_by_role("button", name="Ask the model").click()
        assert tab.get_by_label("calls").evaluate("field => field.validity.rangeUnderflow")
        assert sent == []


def test_the_form_works_by_keyboard_alone(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        tab.get_by_label("calls").focus()
        tab.keyboard.press("Enter")
        expect(tab.locator("#answer .big")).to_be_visible()


# --- columns ---


def test_a_columns_distributions_open_and_close_by_keyboard(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        button = tab.locator(".heat button").first
        button.focus()
        tab.keyboard.press("Enter")
        dialog = tab.get_by_role("dialog")
        expect(dialog).to_be_visible()
        expect(dialog.get_by_role("heading")).to_have_text(button.inner_text())
        assert dialog.locator("tbody tr").count() >= 10
        dialog.get_by_label("Month").focus()
        tab.keyboard.press("ArrowUp")
        expect(dialog.locator("thead")).to_contain_text("2021-11")
        tab.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(button).to_be_focused()


def test_a_click_on_a_cell_shows_that_month(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        row = tab.locator(".heat tbody tr").nth(2)
        row.locator("td").nth(1).click()
        expect(tab.get_by_role("dialog").locator("thead")).to_contain_text("2021-05")
        expect(tab.locator("#distribution-title")).to_have_text(row.locator("button").inner_text())


def test_what_drifted_is_told_without_colour(browser: Browser, address: str) -> None:
    with opened(browser, address, color_scheme="light") as tab:
        past = tab.locator(".heat td.s3, .heat td.s4, .heat td.s5").first
        assert past.evaluate("cell => getComputedStyle(cell).textDecorationLine") == "underline"
        assert past.evaluate("cell => getComputedStyle(cell).fontWeight") == "700"
        assert float(past.inner_text().rstrip("!")) >= 1


# --- every size, dark, print, keyboard, names ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_and_nothing_is_too_wide(
    browser: Browser, address: str, scheme: str, size: dict[str, int]
) -> None:
    with opened(browser, address, viewport=size, color_scheme=scheme, bypass_csp=True) as tab:
        for closed in tab.locator("summary").all():
            closed.click()
        assert faults(tab) == []
        assert too_wide(tab) == 0
        tab.locator(".heat button").first.click()
        assert faults(tab) == []


def test_in_the_dark_the_page_and_its_charts_are_dark(browser: Browser, address: str) -> None:
    def colours(scheme: str) -> tuple[str, str]:
        with opened(browser, address, color_scheme=scheme) as tab:
            title = tab.locator("#time .wide svg text").first
            return (
                tab.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"),
                title.evaluate("text => getComputedStyle(text).fill"),
            )

    light, dark = colours("light"), colours("dark")
    assert (light[0], dark[0]) == ("rgb(255, 255, 255)", "rgb(17, 22, 28)")
    assert light[1] != dark[1]


def test_on_a_phone_the_narrow_time_line_is_shown(browser: Browser, address: str) -> None:
    with opened(browser, address, viewport=NARROW) as tab:
        expect(tab.locator("#time .narrow svg")).to_be_visible()
        expect(tab.locator("#time .wide svg")).to_be_hidden()


def test_the_first_tab_skips_to_the_page(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        tab.keyboard.press("Tab")
        expect(tab.get_by_role("link", name="Skip to the page")).to_be_focused()


def test_on_paper_there_is_no_form_and_no_bar(browser: Browser, address: str) -> None:
    with opened(browser, address, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        expect(tab.locator("#try")).to_be_hidden()
        expect(tab.locator("nav")).to_be_hidden()
        expect(tab.locator("#time .wide svg")).to_be_visible()
        background = tab.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        folded = tab.locator("details:not([open])").count()
        assert folded > 1
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.locator("details:not([open])").count() == 0
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.locator("details:not([open])").count() == folded


def test_from_a_file_without_network_all_is_there_but_the_form(
    browser: Browser, tmp_path: Path
) -> None:
    with written(browser, made_up.facts(12, 30), tmp_path, offline=True) as tab:
        assert tab.locator("h2:visible").all_inner_texts() == list(PARTS[:-1])
        tab.locator(".heat button").first.click()
        expect(tab.get_by_role("dialog")).to_be_visible()


def test_a_column_that_is_called_like_a_script_stays_a_name(
    browser: Browser, folder: Path, address: str
) -> None:
    facts = made_up.with_column(made_up.facts(12, 10), SCRIPT)
    before = (folder / PAGE).read_text()
    (folder / PAGE).write_text(render.page(facts, live=True))
    try:
        with browser.new_context(bypass_csp=True) as kept:  # nothing but the escaping protects here
            tab = kept.new_page()
            tab.goto(address)
            tab.get_by_role("button", name=SCRIPT).click()
            expect(tab.locator("#distribution-title")).to_have_text(SCRIPT)
            tab.keyboard.press("Escape")
            expect(tab.get_by_role("spinbutton", name=SCRIPT)).to_have_value("1.5")
            assert tab.evaluate("window.broken") is None
    finally:
        (folder / PAGE).write_text(before)


def test_after_a_swap_the_page_says_that_another_version_answers(
    browser: Browser, folder: Path, address: str
) -> None:
    serve_fixtures.put(folder, 2)
    try:
        with opened(browser, address) as tab:
            expect(tab.locator("#moved")).to_contain_text("answers with version 2")
    finally:
        serve_fixtures.put(folder, 1)


# --- hostile names, and who may look ---

# Each would set `window.broken`, were it anything but text.
HOSTILE = (
    "</script><script>window.broken=1</script>",
    "<img src=x onerror=window.broken=1>",
    '"><svg onload=window.broken=1>',
    "'};window.broken=1;//",
    "{{ 7*7 }}${window.broken=1}",
)
INJECTED = (
    "<script>window.broken=1</script><img src=x onerror='window.broken=1'>"
    "<svg onload='window.broken=1'></svg>"
    "<iframe srcdoc='<script>parent.broken=1</script>'></iframe>"
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_are_shown_and_do_nothing(
    browser: Browser, folder: Path, tmp_path: Path, scheme: str, text: str
) -> None:
    serve_fixtures.put(tmp_path, 1)
    facts = replace(hostile.named(made_up.facts(12, 10), text), form=hostile.form(text))
    (tmp_path / PAGE).write_text(render.page(facts, live=True))
    with (
        answering(tmp_path) as address,
        opened(browser, address, color_scheme=scheme) as tab,  # no violation, and no error
    ):
        dialogs: list[str] = []
        tab.on("dialog", lambda dialog: dialogs.append(dialog.message))
        expect(tab.locator("#age")).to_contain_text("ago")  # the page's own script runs
        expect(tab.locator("body")).to_contain_text(text)
        tab.get_by_role("button", name=text).first.click()
        expect(tab.locator("#distribution-title")).to_have_text(text)
        tab.keyboard.press("Escape")
        for closed in tab.locator("summary").all():
            closed.click()
        assert tab.evaluate("window.broken") is None
        assert dialogs == []


def test_a_script_that_got_into_the_page_does_not_run(
    browser: Browser, folder: Path, address: str
) -> None:
    before = (folder / PAGE).read_text()
    (folder / PAGE).write_text(before.replace("<body>", f"<body>{INJECTED}"))
    try:
        with browser.new_context() as kept:  # that it is refused is in the browser's own log
            tab = kept.new_page()
            tab.goto(address)
            expect(tab.locator("#age")).to_contain_text("ago")
            tab.wait_for_timeout(200)
            assert tab.evaluate("window.broken") is None
    finally:
        (folder / PAGE).write_text(before)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server finds Evidently's page: a folder of this test's."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "DRIFT_HTML", tmp_path / "reports" / "drift.html")
    files.DRIFT_HTML.parent.mkdir()
    return files.DRIFT_HTML


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_evidentlys_page_shows_hostile_names_and_runs_nothing_of_them(
    browser: Browser, address: str, reports: Path, scheme: str
) -> None:
    test_evidently_page.write(reports)
    with opened(browser, f"{address}drift.html", color_scheme=scheme) as tab:
        for name in test_evidently_page.HOSTILE[:3]:
            expect(tab.locator("body")).to_contain_text(f"Drift in column '{name}'")
        expect(tab.locator("svg.main-svg").first).to_be_visible()  # its plots are drawn
        assert tab.evaluate("[window.broken, window.origin]") == [None, "null"]


def test_a_script_that_got_into_evidentlys_page_does_not_run(
    browser: Browser, address: str, reports: Path
) -> None:
    page = test_evidently_page.write(reports)
    reports.write_text(page.replace("<body>", f"<body>{INJECTED}"))
    with browser.new_context() as kept:
        tab = kept.new_page()
        tab.goto(f"{address}drift.html")
        expect(tab.locator("body")).to_contain_text("Drift in column")
        assert tab.evaluate("window.broken") is None
        # Nor one in a page that is not of ours: it has no policy, and runs nothing.
        reports.write_text(f"<!doctype html>{INJECTED}<p>here</p>")
        tab.goto(f"{address}drift.html")
        expect(tab.locator("body")).to_contain_text("here")
        assert tab.evaluate("window.broken") is None


@pytest.mark.parametrize("path", ["docs", ""])
def test_our_other_pages_are_styled_and_run_no_script(
    browser: Browser, tmp_path: Path, path: str
) -> None:
    with answering(tmp_path) as address:
        with opened(browser, address + path) as tab:
            wide = tab.locator("body").evaluate("body => getComputedStyle(body).maxWidth")
            assert wide == "960px"
        with browser.new_context() as kept:
            tab = kept.new_page()
            tab.goto(address + path)
            tab.evaluate("document.body.append(document.createElement('script'))")
            tab.evaluate("document.querySelector('script').textContent = 'window.broken = 1'")
            assert tab.evaluate("window.broken") is None


def test_no_page_can_show_ours_as_a_part_of_itself(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    (tmp_path / "frame.html").write_text(f"<iframe src={address}></iframe>")
    with browser.new_context() as kept:
        tab = kept.new_page()
        tab.goto((tmp_path / "frame.html").as_uri())
        tab.wait_for_timeout(500)
        assert all("churn_model" not in frame.title() for frame in tab.frames)


def test_with_the_token_as_the_password_the_page_opens_and_asks(
    browser: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = "correct-horse-battery"
    monkeypatch.setenv(access.TOKEN, shown)
    known: Any = dict.fromkeys(("username", "password"), shown)  # the user may have any name
    with answering(folder) as address:
        with opened(browser, address, http_credentials=known) as tab:
            tab.get_by_role("button", name="Ask the model").click()
            expect(tab.locator("#answer .big")).to_be_visible()
            expect(tab.locator("#answer")).to_contain_text("TreeSHAP")
        known["password"] = shown[::-1]
        with browser.new_context(http_credentials=known) as kept:
            answer = kept.new_page().goto(address)
            assert answer
            assert answer.status == 401


# --- empty states ---


def empty(**values: Any) -> Facts:
    return replace(NOTHING, **values)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (NOTHING, ("Nothing is in production yet", "no event yet")),
        (made_up.facts(1, 3), ("The time line begins with the second month",)),
        (made_up.facts(12, 3, drifted=False), ("No column is past its limit", "Yes: 2021-12")),
        (
            empty(
                trouble="the registry at sqlite:///mlflow.db does not do what is asked",
                next_step="mend the registry, then: make status",
            ),
            ("The registry cannot be relied on",),
        ),
    ],
    ids=["no model yet", "one month only", "nothing drifted", "registry away"],
)
def test_an_empty_state_says_what_to_do_next(
    browser: Browser, tmp_path: Path, facts: Facts, said: tuple[str, ...]
) -> None:
    with written(browser, facts, tmp_path, bypass_csp=True) as tab:
        for text in said:
            expect(tab.get_by_text(text, exact=False).first).to_be_visible()
        command = facts.next_step.rpartition(": ")[2]
        expect(tab.locator(".todo code").get_by_text(command, exact=True)).to_be_visible()
        assert faults(tab) == []


def test_until_there_is_a_page_one_waits_for_it(browser: Browser, tmp_path: Path) -> None:
    application = serve_fixtures.client(tmp_path).application
    said = application.test_client().get("/")
    assert said.status_code == 200
    assert "The page is being made" in said.text
    path = tmp_path / "waiting.html"
    path.write_text(said.text)
    with opened(browser, path.as_uri(), bypass_csp=True) as tab:
        assert faults(tab) == []


# --- how good ---


def test_36_months_by_200_columns_paint_in_a_blink_and_axe_finds_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    with written(browser, made_up.facts(), tmp_path, bypass_csp=True) as tab:
        painted = tab.evaluate(made_up.PAINT)
        print(f"first paint of 36 months by 200 columns: {painted:.0f} ms")
        assert tab.locator(".heat tbody tr").count() == made_up.COLUMNS
        assert too_wide(tab) == 0
        assert faults(tab) == []
