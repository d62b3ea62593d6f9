"""The viewer in a real browser, headless: what a user sees and does."""

import json
import os
import shutil
import statistics
import threading
import time

import numpy as np
import pytest
import viewing

from brainjax.app.options import Options
from brainjax.infer.scan import read_scan
from brainjax.io import Volume, read_volume, write_volume

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), "chromedriver"
pytest.importorskip("dash", reason="the viewer needs dash: pip install 'brainjax[app]'")
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium to drive a browser")
if CHROMIUM is None or shutil.which(DRIVER) is None:
    pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)", allow_module_level=True)  # fmt: skip

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from brainjax.app import uploads  # noqa: E402
from brainjax.app.jobs import Jobs  # noqa: E402
from brainjax.app.server import serving  # noqa: E402
from brainjax.app.sessions import Session  # noqa: E402

pytestmark = pytest.mark.slow
PATIENCE_S = 30
# Five times what is promised on a machine of one's own, which `pytest -s` shows: tests share theirs.
SLICE_MS, FIRST_MS = 500, 10_000
BRIGHT = 900  # ann is below 800
FLAGS = (
    *("--headless=new", "--window-size=1280,900", "--disable-dev-shm-usage"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a GPU
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A patient of two contrasts, a scan brighter than any of theirs, and one of 256 x 256 x 256 voxels, all LIA."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "ann").mkdir()
    viewing.files(folder / "ann")
    bright = np.full((40, 48, 32), BRIGHT, np.int16)
    bright[0] = BRIGHT - 500
    write_volume(folder / "bright.nii.gz", Volume(bright, viewing.LIA))
    x, y, z = np.ogrid[:256, :256, :256]
    data = (2 * x + y + z // 2).astype(np.int16)
    write_volume(folder / "large.nii.gz", Volume(data, viewing.LIA))
    return folder


class Held(viewing.MadeUp):
    """A pipeline that stands half way through its first stage until it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def __call__(self, of, progress):
        progress("strip", 0.5)
        assert self.go.wait(PATIENCE_S)
        return super().__call__(of, progress)


@pytest.fixture(scope="module")
def pipeline():
    return Held()


@pytest.fixture(scope="module")
def address(folder, pipeline):
    scans = (folder / "ann", folder / "bright.nii.gz")
    options = Options(port=0, scans=scans, sessions=50)
    with serving(options, Jobs(lambda: pipeline)) as address:
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which root cannot have
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


class Page:
    """What a user can do, and see."""

    def __init__(self, driver, address):
        self.driver, self.seen = driver, []
        driver.switch_to.new_window("tab")  # with a session of its own
        driver.get(address)
        self.wait("return brainjax.viewer.view && brainjax.viewer.opening === null")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script):
        WebDriverWait(self.driver, PATIENCE_S, 0.05).until(lambda _: self.js(script), script)

    def see(self, selector, text):
        """Waits until an element has a text."""
        script = f"const e = document.querySelector({json.dumps(selector)});"
        self.wait(f"{script} return e && e.innerText.includes({json.dumps(text)})")

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def upload(self, *paths):
        """Chooses files, as in the dialogue."""
        self.find("#upload input").send_keys("\n".join(map(str, paths)))

    def choose(self, index):
        """One of the scans that are offered."""
        self.js("dash_clientside.set_props('offered', {value: arguments[0]})", index)

    def opened(self):
        """Waits until all that was asked for is open."""
        self.wait(
            "return !document.body.classList.contains('busy') && brainjax.viewer.opening === null"
        )
        self.settled()

    def brightest(self):
        """The largest number that is drawn in any plane."""
        return self.js(
            "const {planes, volume: v} = brainjax.viewer;"
            "return Math.max(...planes.flatMap(p => [...p.drawn.values[v.name]]).map(q => v.offset + v.step * q))"
        )

    def settled(self):
        self.wait("return brainjax.viewer.planes.every(p => !p.busy && p.current())")

    def colour(self, plane, across, down):
        """Red, green and blue where a voxel is drawn, counted from the slice's corner on the screen."""
        return self.js(
            "const p = brainjax.viewer.planes.find(p => p.name === arguments[0]), f = p.frame();"
            "const r = window.devicePixelRatio, c = p.canvas.getContext('2d');"
            "const x = (f.x0 + (arguments[1] + 0.5) * f.dx) * r, y = (f.y0 + (arguments[2] + 0.5) * f.dy) * r;"
            "return [...c.getImageData(x, y, 1, 1).data].slice(0, 3)",
            *(plane, across, down),
        )

    def point(self, plane, across, down):
        """A click on a voxel, counted as in `colour`."""
        x, y = self.js(
            "const p = brainjax.viewer.planes.find(p => p.name === arguments[0]), f = p.frame();"
            "return [f.x0 + (arguments[1] + 0.5) * f.dx - p.canvas.clientWidth / 2,"
            " f.y0 + (arguments[2] + 0.5) * f.dy - p.canvas.clientHeight / 2]",
            *(plane, across, down),
        )
        canvas = self.find(f"#{plane} canvas")
        ActionChains(self.driver).move_to_element_with_offset(canvas, x, y).click().perform()

    def scroll(self, plane, notches):
        origin = ScrollOrigin.from_element(self.find(f"#{plane} canvas"))
        actions = ActionChains(self.driver)
        for _ in range(abs(notches)):
            actions.scroll_from_origin(origin, 0, 120 if notches > 0 else -120)
        actions.perform()

    def index(self, plane):
        return int(self.find(f"#{plane} output").text.split(" / ")[0]) - 1

    def requests(self):
        """Addresses asked for since the last call."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in sent]
        self.seen += urls
        return urls


@pytest.fixture
def page(driver, address):
    driver.get_log("performance")
    driver.get_log("browser")
    page = Page(driver, address)
    yield page
    page.requests()
    ours = (address, "data:", "blob:", "about:", "chrome")
    assert page.seen and not [url for url in page.seen if not url.startswith(ours)]  # no internet
    wrong = [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    # A refused upload is a failed request to the browser, whatever the page makes of it.
    assert not [text for text in wrong if "status of 4" not in text]
    driver.close()
    driver.switch_to.window(driver.window_handles[0])


def test_the_page_fills_the_window_and_no_more(page):
    assert page.js("const e = document.scrollingElement; return e.scrollHeight - innerHeight") == 0


def test_planes_are_linked_and_tell_place_and_intensity(page, folder):
    scan = read_scan(folder / "ann")
    data = scan.volumes["t1"].data[::-1, ::-1].swapaxes(1, 2)  # LIA to RAS
    shape = data.shape
    assert "Research use only" in page.find(".research").text
    assert page.find("#name").text == "ann"
    page.point("axial", 10, 7)
    page.settled()
    x, y, z = shape[0] - 1 - 10, shape[1] - 1 - 7, shape[2] // 2
    assert (page.index("sagittal"), page.index("coronal"), page.index("axial")) == (x, y, z)
    stored = (shape[0] - 1 - x, shape[2] - 1 - z, y)
    right, anterior, superior = (scan.grid.affine @ [*stored, 1])[:3].tolist()
    page.see("#place", f"{abs(right):.1f} {'RL'[right < 0]}")
    page.see("#place", f"{abs(anterior):.1f} {'AP'[anterior < 0]}")
    page.see("#place", f"{abs(superior):.1f} {'SI'[superior < 0]} mm")
    page.see("#place", "voxel " + ", ".join(map(str, stored)))
    page.see("#place", f"T1 {data[x, y, z]}")
    # The wheel changes this plane's slice, and the place with it.
    page.scroll("axial", -2)
    page.settled()
    assert page.index("axial") == z + 2
    page.see("#place", f"T1 {data[x, y, z + 2]}")
    # Another contrast, at the same place.
    page.js("document.querySelectorAll('#contrast label')[1].click()")
    flair = scan.volumes["flair"].data[::-1, ::-1].swapaxes(1, 2)
    page.see("#place", f"FLAIR {flair[x, y, z + 2]}")
    # Played, the slices go by until it is stopped.
    button = page.find("#coronal .play")
    button.click()
    page.wait(f"return brainjax.viewer.cross[1] !== {y}")
    button.click()
    page.settled()
    stopped = page.index("coronal")
    time.sleep(0.3)
    assert page.index("coronal") == stopped


def test_what_is_drawn_is_the_scan_the_right_way_round_and_in_time(page, folder):
    page.upload(folder / "large.nii.gz")
    page.wait("return brainjax.viewer.times.first.length >= 2")  # one was offered
    first = page.js("return brainjax.viewer.times.first")[1]
    assert first <= FIRST_MS
    page.js("brainjax.viewer.times.slice.length = 0")
    for notches in (-6, 3):
        page.scroll("sagittal", notches)
        page.settled()
    page.js("brainjax.viewer.move([60, 200, 90])")
    page.settled()
    changed = page.js("return brainjax.viewer.times.slice")
    assert len(changed) >= 8 and statistics.median(changed) <= SLICE_MS
    print(f"first slice {first:.0f} ms, then {statistics.median(changed):.0f} ms a slice")
    black, white = page.js("return brainjax.viewer.window")
    for plane, across, down in (("axial", 40, 170), ("coronal", 220, 30), ("sagittal", 90, 200)):
        at = dict(zip("xyz", (60, 200, 90), strict=True))
        names = {"axial": "xy", "coronal": "xz", "sagittal": "yz"}[plane]
        at |= {name: 255 - k for name, k in zip(names, (across, down), strict=True)}
        i, j, k = 255 - at["x"], 255 - at["z"], at["y"]  # LIA
        value = 2 * i + j + k // 2
        wanted = np.clip((value - black) / (white - black) * 255, 0, 255)
        seen = page.colour(plane, across, down)
        assert seen[0] == seen[1] == seen[2] and abs(seen[0] - wanted) < 6, plane


def test_a_run_is_seen_and_laid_over_and_taken_home(page, pipeline, folder, tmp_path):
    page.find("#run").click()
    page.see("#progress", "Find the brain")
    page.see("#progress", "50%")
    assert not page.find("#run").is_enabled() and page.find("#stop").is_enabled()
    pipeline.go.set()
    page.see("#progress", "Done")
    page.see("#results", "believe nothing")
    page.see("#results", "Lesions".upper())
    page.see("#overlays", "Oedema")
    page.wait(
        "const e = document.querySelector('#surfaces .js-plotly-plot'); return e && e.data.length === 4"
    )
    # A click on the lesion brings the crosshair into it.
    page.find("#results [data-point]").click()
    page.settled()
    page.see("#place", "necrosis, core")
    # Its colour is as strong as wanted, and the server is not asked for it.
    cross, shape = page.js("return [brainjax.viewer.cross, brainjax.viewer.view.shape]")
    beside = (shape[0] - 1 - cross[0] + 1, shape[1] - 1 - cross[1] + 1)  # clear of the crosshair
    tinted = page.colour("axial", *beside)
    while any("/slice/" in url for url in page.requests()):
        time.sleep(0.3)  # neighbours are fetched ahead
    page.js("brainjax.viewer.overlay('core', 0)")
    plain = page.colour("axial", *beside)
    assert plain[0] == plain[1] == plain[2] and tinted[0] > tinted[2] + 20
    assert not [url for url in page.requests() if "/slice/" in url]
    # Masks and report.
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    for link in page.driver.find_elements(By.CSS_SELECTOR, ".downloads a"):
        link.click()
    wanted = {
        f"ann_{n}" for n in ("brain.nii.gz", "tumour.nii.gz", "report.html", "measurements.json")
    }
    until = time.monotonic() + PATIENCE_S
    while {p.name for p in tmp_path.iterdir()} != wanted and time.monotonic() < until:
        time.sleep(0.05)
    assert {p.name for p in tmp_path.iterdir()} == wanted
    scan = read_scan(folder / "ann")
    brain = read_volume(tmp_path / "ann_brain.nii.gz")
    assert np.array_equal(brain.data, viewing.analysis(scan).brain.data)
    assert brain.grid.matches(scan.grid)
    assert "Research use only".lower() in (tmp_path / "ann_report.html").read_text().lower()


def test_a_bad_file_is_told_and_harms_nothing(page, folder, tmp_path):
    whole = (folder / "ann" / "patient_t1.nii.gz").read_bytes()
    bad = tmp_path / "<b>bad<b>.nii.gz"
    bad.write_bytes(whole[: len(whole) // 2])
    page.upload(bad)
    page.see("#message", "<b>bad<b>.nii.gz: truncated")
    assert page.find("#name").text == "ann"
    page.scroll("axial", 1)
    page.settled()
    # And the next is taken, its message gone.
    page.upload(*sorted((folder / "ann").iterdir()))
    page.see("#name", "patient")
    assert page.find("#message").text == ""


@pytest.fixture
def slow(monkeypatch):
    """Holds back whatever opens the bright scan, until it is set."""
    let, now = threading.Event(), Session.open

    def waiting(self, scan, *rest):
        assert scan.name != "bright" or let.wait(PATIENCE_S)
        return now(self, scan, *rest)

    monkeypatch.setattr(Session, "open", waiting)
    return let


def test_a_run_that_ends_while_another_scan_is_opened_is_not_taken_for_its_own(
    page, pipeline, slow
):
    pipeline.go.clear()
    page.find("#run").click()
    page.see("#progress", "50%")
    page.choose(1)
    pipeline.go.set()
    page.see("#results", "believe nothing")
    assert page.find("#name").text == "ann" and page.brightest() < BRIGHT
    slow.set()
    page.see("#name", "bright")
    page.opened()
    assert page.js("return brainjax.viewer.view.name") == "bright" and page.brightest() == BRIGHT
    page.wait("return document.getElementById('results').innerText === ''")
    assert page.find("#run").is_enabled()


def test_of_two_scans_asked_for_at_once_the_last_is_seen_whole(page, slow):
    page.js("performance.clearResourceTimings()")
    page.choose(1)
    page.wait("return document.body.classList.contains('busy')")
    page.choose(0)
    time.sleep(0.3)  # in which an answer to the second could overtake that to the first
    slow.set()
    asked = "performance.getEntriesByType('resource').filter(e => e.name.includes('/offered/'))"
    page.wait(f"return {asked}.length === 2")
    page.opened()
    for at in range(14, 20):
        page.js("brainjax.viewer.move([arguments[0], arguments[0], arguments[0]])", at)
        page.settled()
        assert page.brightest() < BRIGHT
    assert page.find("#name").text == page.js("return brainjax.viewer.view.name") == "ann"
    assert "ann" in page.find("#offered").text


def test_slices_of_the_scan_before_that_come_late_leave_no_plane_empty(page):
    page.js(
        "const before = '/slice/' + brainjax.viewer.view.token, now = window.fetch;"
        "window.fetch = async (url, options) => {"
        "  if (String(url).includes(before)) await new Promise(r => setTimeout(r, 700));"
        "  return now(url, options);"
        "};"
        "brainjax.viewer.move([20, 24, 2])"
    )
    page.choose(1)
    page.see("#name", "bright")
    page.opened()
    assert page.brightest() == BRIGHT


def test_files_are_not_taken_while_others_come_in(page, folder, monkeypatch):
    let, read = threading.Event(), uploads.read
    monkeypatch.setattr(uploads, "read", lambda *a, **k: let.wait(PATIENCE_S) and read(*a, **k))
    page.upload(folder / "ann" / "patient_flair.nii.gz")
    page.wait("return document.body.classList.contains('busy')")
    page.upload(folder / "bright.nii.gz")
    page.see("#message", "still coming in")
    let.set()
    page.see("#name", "patient_flair")
    page.opened()
    assert page.find("#message").text == "" and page.brightest() < BRIGHT


def test_a_reload_during_a_run_finds_it_again(page, driver, pipeline):
    pipeline.go.clear()
    page.find("#run").click()
    page.see("#progress", "50%")
    driver.refresh()
    page.see("#progress", "50%")
    assert page.find("#stop").is_enabled() and not page.find("#run").is_enabled()
    pipeline.go.set()
    page.see("#progress", "Done")
    page.see("#results", "believe nothing")
    page.wait("return !document.getElementById('run').disabled")


def test_a_reload_keeps_the_scan_and_another_tab_has_its_own(page, driver, address, folder):
    page.upload(folder / "ann" / "patient_flair.nii.gz")
    page.see("#name", "patient_flair")
    session = page.js("return sessionStorage['brainjax-session']")
    driver.refresh()
    page.wait("return window.brainjax && brainjax.viewer.view")
    page.see("#name", "patient_flair")
    assert page.js("return sessionStorage['brainjax-session']") == session
    assert "ann" not in page.find("#offered").text  # which is offered, and not what is open
    first = driver.current_window_handle
    other = Page(driver, address)
    assert other.find("#name").text == "ann"
    assert other.js("return sessionStorage['brainjax-session']") != session
    # Opened from there a tab begins with a copy of all that it stores.
    own, before = other.js("return sessionStorage['brainjax-session']"), driver.window_handles
    other.js("window.open(location.href)")
    (copy,) = set(driver.window_handles) - set(before)
    second = driver.current_window_handle
    driver.switch_to.window(copy)
    other.wait("return window.brainjax && brainjax.viewer.view")
    assert other.js("return sessionStorage['brainjax-session']") != own
    driver.close()
    driver.switch_to.window(second)
    driver.close()
    driver.switch_to.window(first)
