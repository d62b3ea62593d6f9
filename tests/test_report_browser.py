"""The report in a real browser, from a file: nothing is fetched, nothing of the scan's runs, and what can be moved moves."""

import os
import shutil

import analyses
import pytest

from brainjax.report import html

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), "chromedriver"
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium to drive a browser")
if CHROMIUM is None or shutil.which(DRIVER) is None:
    pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)", allow_module_level=True)  # fmt: skip

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

NAME = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
FLAGS = (
    *("--headless=new", "--window-size=1280,1000", "--disable-dev-shm-usage"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a GPU
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    html.write(path, analyses.make("LPI", "isotropic", name=NAME))
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which(DRIVER))
    )
    driver.get(path.as_uri())
    yield driver
    driver.quit()


def shown(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter((e) => e.getClientRects().length).length",
        selector,
    )


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_it_opens_without_a_word_and_without_the_network(browser):
    assert browser.title.startswith(NAME)
    assert browser.find_element(By.TAG_NAME, "h1").text == NAME
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map((e) => e.name)"
    )
    assert not [name for name in fetched if not name.startswith("data:")]
    broken = "return [...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0


def test_contrasts_planes_and_outlines_are_switched(browser):
    assert shown(browser, ".mosaic .k0") and not shown(browser, ".mosaic .k1")
    click(browser, "label[for=k1]")
    assert shown(browser, ".mosaic .k1") and not shown(browser, ".mosaic .k0")
    assert shown(browser, ".p0") and not shown(browser, ".p2")
    click(browser, "label[for=p2]")
    assert shown(browser, ".p2") and not shown(browser, ".p0")
    assert shown(browser, "use.o-et")
    click(browser, "label[for=o-et]")
    assert not shown(browser, "use.o-et") and shown(browser, "use.o-wt")
    colours = "return getComputedStyle(document.querySelector('.p2 use.o.o-wt')).stroke"
    assert browser.execute_script(colours) == "rgb(86, 180, 233)"


def test_a_slice_grows_and_shrinks(browser):
    slice_ = browser.find_element(By.CSS_SELECTOR, ".three .slice")
    width = slice_.size["width"]
    click_at = ActionChains(browser).move_to_element(slice_)
    click_at.click().perform()
    assert slice_.size["width"] > 1.5 * width
    ActionChains(browser).move_to_element(slice_).click().perform()
    assert slice_.size["width"] == width


def test_the_brain_turns(browser):
    canvas = browser.find_element(By.CSS_SELECTOR, ".scene canvas")
    picture = "return document.querySelector('.scene canvas').toDataURL()"
    before = browser.execute_script(picture)
    assert len(before) > 5000  # not of one colour
    ActionChains(browser).drag_and_drop_by_offset(canvas, 80, 10).perform()
    after = browser.execute_async_script(
        f"requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]((() => {{{picture}}})())))"
    )
    assert after != before
