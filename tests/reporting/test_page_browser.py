"""The report page in a real browser: what moves, what is said to a screen reader, and that nothing is loaded."""

import base64
import html
import io
import json
import shutil
import statistics
from pathlib import Path

import made
import numpy as np
import pytest
from conftest import make_splits
from PIL import Image
from test_network import shaken

from chestrobust import models
from chestrobust.evaluation import gallery
from chestrobust.reporting import page

pytestmark = pytest.mark.browser

selenium = pytest.importorskip("selenium", reason="needs selenium: make test-browser installs it")
axe = pytest.importorskip("axe_core_python.selenium", reason="needs axe-core-python: make test-browser installs it")

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
THEMES, WIDTHS = ("light", "dark"), (390, 1200)  # pixels


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that logs its console and its requests."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        pytest.skip("no Chromium is installed: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = shutil.which("chromedriver")
    try:
        found = webdriver.Chrome(options=options, service=Service(driver) if driver else None)
    except WebDriverException as error:
        pytest.skip(f"Chromium doesn't start here: {error.msg.splitlines()[0]}")
    yield found
    found.quit()


def written(folder, kept):
    """The page of a robust run with its baseline, its evaluation and a gallery."""
    rows = made.evaluation(smoothed=made.smoothed())
    rows["evaluations"][0]["per_label_auc"]["mass"] = None
    rows["audit"] += [made.line("gradients", "failed", "invalid"), made.line("corners", "passed", "note")]
    made.folder(folder / "run", made.results(baseline="../base"), {"standard": rows}, gallery=kept)
    return page.write(folder / "run")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page whose models can't be attacked on it."""
    return written(tmp_path_factory.mktemp("page"), made.gallery())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page that has every section: a baseline that is easily fooled, and a robust model that isn't."""
    shown = made.gallery()
    for model, weight in zip(shown["models"], (10, 1), strict=True):
        model["network"] = made.network(weight)
    return written(tmp_path_factory.mktemp("whole"), shown)


def shown(browser, path, *, theme="light", width=1200):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())
    return browser


def texts(browser, selector):
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def column(table, number):
    return [
        cell.get_attribute("data-value")
        for cell in table.find_elements(By.CSS_SELECTOR, f"tbody td:nth-child({number})")
    ]


def attack(browser):
    """Press the button, and wait for what is said in the end."""
    browser.find_element(By.ID, "fool-attack").send_keys(Keys.ENTER)
    WebDriverWait(browser, 30).until(lambda _: texts(browser, "#fool-told") != [""])
    return texts(browser, "#fool-told")[0]


def test_nothing_is_loaded_and_the_console_is_silent(browser, whole):
    browser.get_log("performance"), browser.get_log("browser")
    shown(browser, whole)
    slider = browser.find_element(By.ID, "radius")
    slider.send_keys(Keys.END)
    attack(browser)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert [url for url in asked if url.startswith("file:")] == [whole.as_uri()]
    assert browser.get_log("browser") == []


def test_the_slider_moves_probabilities_across_their_thresholds(browser, path):
    shown(browser, path)
    slider = browser.find_element(By.ID, "radius")
    first = ".view:first-child .answers li:first-child"
    wide = lambda: browser.find_element(By.CSS_SELECTOR, f"{first} .fill").get_attribute("style")  # noqa: E731
    assert browser.find_element(By.ID, "radius-shown").text == "clean"
    assert "effusion" in texts(browser, first)[0] and "90.0 % found" in texts(browser, first)[0]
    assert wide() == "width: 90%;"
    seen = []
    for _ in range(2):
        slider.send_keys(Keys.ARROW_RIGHT)
        seen.append(
            (browser.find_element(By.ID, "radius-shown").text, texts(browser, first)[0].split("\n")[-1], wide())
        )
    assert seen == [("4/255", "60.0 % found", "width: 60%;"), ("8/255", "5.0 % missed", "width: 5%;")]
    assert "80.0 % invented" in browser.find_element(By.CSS_SELECTOR, ".view:first-child .answers").text
    assert slider.get_attribute("aria-valuetext") == "epsilon 8/255"
    cut = browser.find_element(By.CSS_SELECTOR, f"{first} .cut").get_attribute("style")
    assert cut == "left: 50%;"


def test_the_pictures_of_both_models_follow_and_the_perturbation_is_drawn(browser, path):
    shown(browser, path)
    assert texts(browser, ".view h3") == ["baseline", "robust"]
    browser.find_element(By.ID, "radius").send_keys(Keys.END)
    WebDriverWait(browser, 30).until(lambda _: texts(browser, ".view figcaption").count("perturbation, \u00d716") == 2)
    pixels = browser.execute_script(
        "return [...document.querySelectorAll('.view canvas')].map((canvas) =>"
        " [canvas.width, ...canvas.getContext('2d').getImageData(0, 0, 1, 1).data])"
    )
    # Attacked and clean are the same picture here, so that the middle of the scale is drawn.
    assert pixels == [[4, 128, 128, 128, 255]] * 2
    Select(browser.find_element(By.ID, "patient")).select_by_visible_text("test image 7")
    assert browser.find_element(By.CSS_SELECTOR, ".view img").get_attribute("alt") == "test image 7, clean"


def test_in_the_notebook_its_links_and_its_slider_stay_in_their_frame(browser, whole, tmp_path):
    cells = json.loads((ROOT / "notebook.ipynb").read_text())["cells"]
    (source,) = ("".join(cell["source"]) for cell in cells if "<iframe" in "".join(cell["source"]))
    folder, found = tmp_path / "robust", []
    shutil.copytree(whole.parent, folder)
    exec(source, {"Path": Path, "FOLDER": tmp_path, "html": html, "HTML": str, "display": found.append})
    (tmp_path / "notebook.html").write_text(f"<!doctype html>{found[0]}")
    shown(browser, tmp_path / "notebook.html")
    browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
    browser.find_element(By.LINK_TEXT, "Gallery").click()
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script("return window.scrollY") > 0)
    before = texts(browser, ".answers li")
    browser.find_element(By.ID, "radius").send_keys(Keys.END)
    assert texts(browser, ".answers li") != before
    assert attack(browser)  # says what it did
    browser.switch_to.default_content()


def test_tables_are_sorted_by_a_press_and_say_so(browser, path):
    shown(browser, path)
    table = browser.find_element(By.CSS_SELECTOR, "table.bars")
    header = table.find_elements(By.CSS_SELECTOR, "thead tr:last-child th")[4]  # clean, of the robust model
    header.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    number = [*table.find_elements(By.CSS_SELECTOR, "thead tr:last-child th")].index(header) + 1
    values = [float(value) for value in column(table, number) if value]
    assert values == sorted(values) and len(set(values)) > 1
    assert header.get_attribute("aria-sort") == "ascending"
    header.find_element(By.TAG_NAME, "button").click()
    assert [float(value) for value in column(table, number) if value] == values[::-1]
    assert header.get_attribute("aria-sort") == "descending"
    names = table.find_elements(By.CSS_SELECTOR, "thead tr:last-child th")[0]
    names.find_element(By.TAG_NAME, "button").click()
    found = [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "tbody th")]
    assert found == sorted(made.LABELS)
    assert header.get_attribute("aria-sort") is None


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious(browser, whole, theme, width):
    shown(browser, whole, theme=theme, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.Axe().run(browser)["violations"]
    told = [(one["id"], one["impact"], [node["html"][:90] for node in one["nodes"]][:3]) for one in found]
    assert [one for one in told if one[1] in ("serious", "critical")] == []
    assert len(axe.Axe().run(browser)["passes"]) > 15


@pytest.mark.parametrize("width", (320, *WIDTHS))
def test_the_page_fits_every_width(browser, whole, width):
    shown(browser, whole, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_verdict_and_the_scores_are_on_the_first_screen(browser, path):
    shown(browser, path)
    for selector in (".sentence", ".summary"):
        element = browser.find_element(By.CSS_SELECTOR, selector)
        assert element.rect["y"] + element.rect["height"] <= 900, selector


def test_long_names_leave_room_for_the_numbers(browser, tmp_path):
    folders = [tmp_path / f"{'name_without_a_break_' * 3}{number}" for number in range(2)]
    kept = made.gallery()
    kept["label_names"] = ["a_finding_without_a_break_" * 3, *kept["label_names"][1:]]
    for model, patient in zip(kept["models"], kept["patients"], strict=True):
        model["network"], patient["present"] = made.network(1), kept["label_names"][:1]
    for folder in folders:
        made.folder(folder, made.results(), {"standard": made.evaluation()}, gallery=kept)
    page.compare(folders, tmp_path / "both.html")
    shown(browser, tmp_path / "both.html", width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    cells = browser.find_elements(By.CSS_SELECTOR, ".summary td")
    assert cells and all(cell.rect["x"] + cell.rect["width"] <= 390 for cell in cells)


def test_findings_stand_in_the_same_order_in_every_model(browser, tmp_path):
    kept = made.gallery()
    for patient in kept["patients"]:  # The second model moves another finding.
        patient["answers"] = [[[0.9, 0.4, 0.1]] * 2 + [[0.9, 0.4, 0.2]], [[0.9, 0.4, 0.1]] * 2 + [[0.9, 0.9, 0.1]]]
    shown(browser, written(tmp_path, kept))
    orders = [texts(browser, f".view:nth-child({number}) .name") for number in (1, 2)]
    assert orders == [["\u2713 effusion", "mass", "hernia"]] * 2


def test_intervals_of_findings_are_shown_if_asked_for(browser, tmp_path):
    made.folder(tmp_path / "run", made.results(), {"standard": made.evaluation()})
    shown(browser, page.write(tmp_path / "run"))
    ends = browser.find_element(By.CSS_SELECTOR, "table.bars .ends")
    assert not ends.is_displayed()
    browser.find_element(By.ID, "with-intervals").send_keys(Keys.SPACE)
    assert ends.is_displayed() and " to " in ends.text


def test_on_paper_nothing_is_cut_off(browser, path):
    shown(browser, path, width=690)  # A4 without its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        tables = [one for one in browser.find_elements(By.TAG_NAME, "table") if one.is_displayed()]
        assert len(tables) >= 3 and all(one.rect["x"] + one.rect["width"] <= 690 for one in tables)
        fill = browser.find_element(By.CSS_SELECTOR, ".fill")
        assert fill.value_of_css_property("print-color-adjust") == "exact"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_both_themes_have_their_own_paper(browser, path):
    grey = []
    for theme in THEMES:
        shown(browser, path, theme=theme)
        colour = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        grey.append(statistics.mean(float(part.strip(" )")) for part in colour.partition("(")[2].split(",")[:3]))
    assert grey[0] > 230 and grey[1] < 40


def test_all_can_be_reached_by_keyboard(browser, whole):
    shown(browser, whole)
    body, reached = browser.find_element(By.TAG_NAME, "body"), set()
    body.send_keys(Keys.TAB)
    for _ in range(160):
        active = browser.switch_to.active_element
        reached.add(active.get_attribute("id") or active.tag_name)
        active.send_keys(Keys.TAB)
    assert {"patient", "radius", "button", "summary", "methods-1", "a"} <= reached
    assert {f"fool-{name}" for name in ("patient", "goal", "steps", "radius", "attack")} <= reached


def test_what_is_copied_is_the_text(browser, path):
    shown(browser, path)
    browser.find_element(By.CSS_SELECTOR, "[data-copy=methods-1]").click()
    selected = browser.execute_script("return getSelection().toString()")
    assert selected.strip() == browser.find_element(By.ID, "methods-1").text.strip()
    assert selected.startswith("We used chestmnist")


def test_the_reader_fools_the_baseline_but_not_the_robust_model(browser, whole):
    shown(browser, whole)
    radius = browser.find_element(By.ID, "fool-radius")
    for _ in range(4):
        radius.send_keys(Keys.ARROW_RIGHT)
    assert texts(browser, "#fool-radius-shown") == ["8/255"]
    assert radius.get_attribute("aria-valuetext") == "epsilon 8/255"
    # Twelve pixels go down by 8/255 and four are 0 already: a logit of 2 falls by 10 or 1 times 96/255.
    expected = (
        "baseline: effusion 88.1 % \u2192 14.6 %, no longer found.\nrobust: effusion 88.1 % \u2192 83.5 %, still found."
    )
    assert attack(browser) == expected
    rows = texts(browser, "#fool-views .answers li:first-child")
    assert [row.split("\n")[-1] for row in rows] == ["14.6 % missed", "83.5 % found"]
    captions = texts(browser, "#fool-views figcaption")
    assert captions[:3] == ["clean", "attacked, 8/255", "perturbation, \u00d716"]
    change = "return [...document.querySelector('#fool-views canvas').getContext('2d').getImageData(0, 0, 2, 1).data]"
    # The first pixel is black and stays, the next one is darker by the whole radius.
    assert browser.execute_script(change)[::4] == [128, 1]
    Select(browser.find_element(By.ID, "fool-steps")).select_by_visible_text("FGSM")
    WebDriverWait(browser, 30).until(lambda _: texts(browser, "#fool-views figcaption").count("not attacked") == 2)
    assert texts(browser, "#fool-told") == [""]
    assert attack(browser) == expected  # one step is enough for what is linear
    Select(browser.find_element(By.ID, "fool-goal")).select_by_visible_text("invent mass")
    assert "mass 26.9 % \u2192 26.9 %, still not found" in attack(browser)


def test_what_every_model_finds_is_the_first_to_be_hidden(browser, tmp_path):
    kept = made.gallery()
    for model, weight in zip(kept["models"], (10, 1), strict=True):
        model["network"] = made.network(weight)
    first, second = kept["patients"]
    first["present"] = second["present"] = ["mass", "effusion"]
    second["answers"] = [[[0.4, 0.9, 0.1]] * 3, [[0.9, 0.9, 0.1]] * 3]
    shown(browser, written(tmp_path, kept))
    offered = [texts(browser, "#fool-goal option")]
    Select(browser.find_element(By.ID, "fool-patient")).select_by_visible_text("test image 7")
    offered.append(texts(browser, "#fool-goal option"))
    assert offered == [
        ["hide effusion", "hide mass", "invent hernia"],
        ["hide mass", "hide effusion", "invent hernia"],
    ]


def test_models_that_cannot_be_attacked_there_have_no_such_section(browser, path):
    shown(browser, path)
    assert browser.find_elements(By.CSS_SELECTOR, "#fool, [href='#fool']") == []


def test_the_page_answers_what_keras_answers(browser, tmp_path):
    splits = make_splits((12, 12, 24), size=28)
    model = shaken(models.build_cnn((28, 28, 1), 3))
    kept = tmp_path / "kept"
    kept.mkdir()
    gallery.write({"robust": model}, splits, {"robust": np.full(3, 0.5)}, kept, precision="float32")
    content = json.loads((kept / "gallery.json").read_text())
    shown(browser, written(tmp_path, content))
    found = browser.execute_async_script("""
        const finish = arguments[0], data = JSON.parse(document.getElementById("gallery-data").textContent);
        const network = readNetwork(data.models[0].network);
        Promise.all(data.patients.map((one) => pixelsOf(one.attacked[0][4], network.shape))).then((images) =>
          finish(images.map((image) => [[...image], [...logitsOf(network, image)]])));
    """)
    stored = [one["attacked"][0][4] for one in content["patients"]]
    for text, (pixels, logits) in zip(stored, found, strict=True):
        levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), np.float32)
        np.testing.assert_array_equal(np.rint(255 * np.array(pixels)), levels.ravel())
        np.testing.assert_allclose(logits, model(levels[None, ..., None] / 255, training=False)[0], atol=1e-4)
    assert attack(browser).startswith("robust: ")
