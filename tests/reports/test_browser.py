"""The page in a real browser without a screen: it draws every plot, asks nobody for anything, and no text lies on another."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hwbench.reports.html import render

from hwbench.core.summary import Summary
from tests.made_summaries import demo, hostile, many_cases, nothing, sizing_only, two_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog

pytestmark = pytest.mark.heavy
CHECK = (Path(__file__).parent / "page_check.js").read_text()
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)
    if found is None:
        pytest.skip("no Chromium or Chrome here")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield opened
        opened.close()


def problems(browser: "Browser", html: str, folder: Path, width: int, *, scheme: str = "light") -> list[str]:
    """Everything wrong with a page at a width: console, requests, looks."""
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    found: list[str] = []

    def dismissed(dialog: "Dialog") -> None:
        found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    page.on("console", lambda message: found.append(f"console: {message.text}") if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("dialog", dismissed)
    page.on("request", lambda request: found.append(f"request: {request.url}") if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn], #no-plots:not([hidden])")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    note = page.evaluate("document.getElementById('no-plots')?.textContent || ''")
    found.extend([f"note: {note}"] if note else [])
    found.extend(page.evaluate(CHECK))
    context.close()
    return found


@pytest.mark.parametrize(
    ("make", "width"),
    [(demo, 1280), (demo, 390), (many_cases, 1280), (many_cases, 390), (hostile, 1280), (hostile, 390), (two_runs, 1280), (nothing, 390),
     (sizing_only, 390)],
)  # fmt: skip
def test_page_is_drawn_and_readable(browser: "Browser", make: Callable[[], Summary], width: int, tmp_path: Path) -> None:
    assert problems(browser, render(make()), tmp_path, width) == []


def test_dark_page(browser: "Browser", tmp_path: Path) -> None:
    assert problems(browser, render(demo()), tmp_path, 800, scheme="dark") == []


def test_between_the_widths_and_after_a_resize(browser: "Browser", tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(demo()), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    for width in (900, 640, 390, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(400)
        assert page.evaluate(CHECK) == [], width
    page.close()


FAULTS = {
    "text overlaps": ("</style>", ".tiles .note { margin-top: -22px; }</style>"),
    "text overlaps:": ('"name":"value"', '"name":"other"'),
    "plot without marks: roofline": ('data-figure="roofline">{"data":[', 'data-figure="roofline">{"data":[],"_":['),
    "the page is": ("</style>", "h1 { width: 1700px; }</style>"),
    "console": ("</header>", '<img src="http://127.0.0.1:9/x.png" alt=""></header>'),
    "note: The plots could not be drawn": ('<script type="text/plain" id="plotly">', '<script type="text/plain" id="plotly">AAAA'),
}


@pytest.mark.parametrize("said", FAULTS)
def test_the_check_sees_what_is_wrong(browser: "Browser", said: str, tmp_path: Path) -> None:
    whole, broken = FAULTS[said]
    html = render(hostile() if said == "text overlaps:" else demo())
    assert whole in html
    found = problems(browser, html.replace(whole, broken), tmp_path, 390)
    assert any(problem.startswith(said.rstrip(":")) for problem in found), found
