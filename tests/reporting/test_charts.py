"""Charts as SVG: where points and their names are."""

import itertools
import re
from xml.etree import ElementTree

import pytest

from chestrobust.reporting import charts


def drawn(text):
    return ElementTree.fromstring(text)


def test_points_stand_where_their_numbers_say():
    lines = [charts.Series("a", 0, [(0.0, 1.0, None), (0.1, 0.0, None)]), charts.Series("b", 1, [(0.05, 0.5, None)])]
    svg = drawn(charts.curves(lines, title="t", x_label="x", x_ticks=[(0.0, "0"), (0.1, "0.1")]))
    first, second = ([tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
                     for line in svg.iter("polyline"))  # fmt: skip
    left, right = charts.LEFT, charts.WIDTH - charts.RIGHT
    assert first == [(left, charts.TOP), (right, 270 - charts.BOTTOM)]
    assert second == [((left + right) / 2, (charts.TOP + 270 - charts.BOTTOM) / 2)]


def test_factors_have_equal_widths_on_a_logarithmic_axis():
    line = charts.Series("a", 0, [(1, 0.5, None), (10, 0.5, None), (100, 0.5, None)])
    svg = drawn(charts.curves([line], title="t", x_label="x", x_ticks=[], logarithmic=True))
    places = [float(pair.split(",")[0]) for pair in next(svg.iter("polyline")).get("points").split()]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    lines = [charts.Series(f"model {number}", number, [(0, 0.5, None), (1, 0.01, None)]) for number in range(6)]
    svg = drawn(charts.curves(lines, title="t", x_label="x", x_ticks=[]))
    heights = sorted(float(text.get("y")) for text in svg.iter("text") if text.get("class").startswith("label"))
    assert len(heights) == 6
    assert all(after - before >= charts.LINE - 0.2 for before, after in itertools.pairwise(heights))
    assert heights[0] >= 0 and heights[-1] <= 270


@pytest.mark.parametrize("high", [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15])
def test_ticks_are_round_and_go_from_end_to_end(high):
    for power in (0.1, 1.0):
        line = charts.Series("a", 0, [(0, 0.0, None), (1, high * power, None)])
        svg = drawn(charts.curves([line], title="t", x_label="x", x_ticks=[], y_limits=(0.0, high * power)))
        ticks = [float(text.text) for text in svg.iter("text") if text.get("class") == "tick end"]
        assert (ticks[0], ticks[-1]) == (0, pytest.approx(high * power))
        assert 4 <= len(ticks) <= 7
        assert float(f"{ticks[1] / power:.2g}") in (0.2, 0.25, 0.5, 1, 2, 2.5)


def test_long_names_keep_the_ends_that_tell_them_apart():
    lines = [charts.Series(f"robust-of-a-recipe-{end}", 0, [(0, 0.5, None), (1, 0.5, None)]) for end in ("v1", "v2")]
    svg = drawn(charts.curves(lines, title="t", x_label="x", x_ticks=[]))
    names = [text.text for text in svg.iter("text") if text.get("class").startswith("label")]
    assert sorted(names) == ["robust\u2026cipe-v1", "robust\u2026cipe-v2"]


def test_models_differ_in_more_than_colour():
    shapes = set()
    for colour in range(4):
        svg = drawn(charts.swatch(colour))
        line = next(svg.iter("line"))
        shapes.add((svg[-1].tag, svg[-1].get("points"), line.get("stroke-dasharray")))
    assert len(shapes) == 4


def test_dots_have_their_intervals_and_what_is_undefined_has_no_dot():
    rows = [("clean", [(0, 0.5, (0.25, 0.75)), (1, None, None)])]
    svg = drawn(charts.dots(rows, title="t", x_label="x"))
    (interval,) = [line for line in svg.iter("line") if line.get("class").startswith("interval")]
    (dot,) = svg.iter("circle")
    assert float(dot.get("cx")) == pytest.approx((float(interval.get("x1")) + float(interval.get("x2"))) / 2, abs=0.2)
    assert len(list(svg.iter("rect"))) == 0


def test_dots_of_many_models_stay_on_their_own_line():
    rows = [(name, [(colour, 0.5, None) for colour in range(8)]) for name in ("clean", "worst")]
    svg = drawn(charts.dots(rows, title="t", x_label="x"))
    names = [float(text.get("y")) - 4 for text in svg.iter("text") if text.get("class") == "tick end"]
    circles = sorted(float(dot.get("cy")) for dot in svg.iter("circle"))  # of models 0 and 4
    middle = (names[0] + names[1]) / 2
    assert [dot < middle for dot in circles] == [True, True, False, False]


def test_texts_are_escaped_and_said_to_screen_readers():
    text = charts.dots([("<b>&", [(0, 0.5, None)])], title="<script>", x_label="x")
    assert "<script>" not in text and "<b>" not in text
    svg = drawn(text)
    assert (svg.get("role"), svg.get("aria-label"), svg[0].text) == ("img", "<script>", "<script>")


def test_nothing_is_drawn_of_nothing():
    assert charts.curves([charts.Series("a", 0)], title="t", x_label="x", x_ticks=[]) == ""
    assert charts.dots([], title="t", x_label="x") == ""


@pytest.mark.parametrize(
    ("value", "end"), [(0.35, 0.4), (1.0, 1.0), (7.0, 8.0), (0.0, 1.0), (0.0101, 0.015), (99, 100)]
)
def test_axes_end_at_round_numbers(value, end):
    assert charts.above(value) == pytest.approx(end)


def test_ticks_that_would_touch_are_left_out():
    line = charts.Series("a", 0, [(number, 0.5, None) for number in range(100)])
    svg = drawn(charts.curves([line], title="t", x_label="x", x_ticks=[(n, str(n)) for n in range(100)]))
    ticks = [float(text.get("x")) for text in svg.iter("text") if text.get("class") == "tick middle"]
    assert 3 < len(ticks) < 12
    assert re.fullmatch(r"\d+", svg.findall("text")[6].text)
