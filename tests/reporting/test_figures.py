"""Figures: what is on them, what they are called, and that none depends on anything but its numbers."""

import io
from pathlib import Path

import made
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from chestrobust import titles
from chestrobust.reporting import figures, graphs, story

TEMPLATES = Path(figures.__file__).parent / "templates"
LABELS = ("effusion", "mass", "nodule", "edema", "hernia", "fibrosis")


def texts(figure):
    """All that a figure says, one string."""
    found = [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]
    return "\n".join(text for text in found if text)


def one_radius():
    found = made.evaluation()
    found["evaluations"] = [row for row in found["evaluations"] if row["epsilon"] in (0.0, made.RADII[1])]
    return found


def test_the_colours_are_those_of_the_report_page():
    css = (TEMPLATES / "page.css").read_text().partition("--m0")[2].partition("}")[0]
    assert [part.strip() for part in f"--m0{css}".split(";") if "--m" in part] == [
        f"--m{number}: {colour}" for number, colour in enumerate(figures.COLOURS)
    ]


def test_an_undefended_model_has_the_same_colour_wherever_it_stands():
    one, two, three = figures.COLOURS[:3]
    assert figures.model_colours([True, False, False]) == [one, two, three]
    assert figures.model_colours([False, True, True]) == [two, one, three]
    assert figures.model_colours([False]) == [two]


def test_colours_differ_in_grey_from_their_background_and_from_each_other():
    def luminance(colour):
        red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    baseline, robust = map(luminance, figures.COLOURS[:2])
    assert abs(baseline - robust) > 0.05
    assert all(luminance(colour) < 0.6 for colour in figures.COLOURS)


def test_a_figure_is_written_as_png_and_svg_with_the_same_bytes_each_time(tmp_path):
    written = []
    for _ in range(2):
        figure = graphs.search_history([(0, 0.5), (1, 0.6)], title="$a_title <b>")
        assert figures.write(figure, tmp_path / "a.b") == tmp_path / "a.b.png"
        written.append([(tmp_path / f"a.b{ending}").read_bytes() for ending in figures.FORMATS])
    assert written[0] == written[1]
    assert Image.open(io.BytesIO(written[0][0])).format == "PNG"
    assert b"<svg" in written[0][1]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["runs/robust/model.keras", "/anywhere/robust/model.keras", "robust.keras"])
def test_titles_are_names_of_runs_and_not_paths(name):
    assert titles.model(name) == "robust"
    assert titles.model("model.keras") == "model"
    title = graphs.curves(made.evaluation(model=name)).get_suptitle()
    assert title.startswith("robust on chestmnist. Trust: 2 of 2 checks")


def test_several_radii_are_lines_and_a_single_one_is_dots():
    lines = graphs.curves(made.evaluation()).axes[0]
    assert [text.get_text() for text in lines.get_legend().get_texts()][:2] == ["FGSM", "PGD"]
    dots = graphs.curves(one_radius()).axes[0]
    assert dots.get_legend() is None
    assert [tick.get_text() for tick in dots.get_yticklabels()][:3] == ["clean", "FGSM", "PGD"]
    # An interval and a dot for each.
    places = [line.get_xdata() for line in dots.get_lines()]
    assert [tuple(ends) for ends in places[2:4]] == [pytest.approx((0.6375, 0.7375)), (0.6875,)]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([2, 4, 8], ["0", "2/255", "4/255", "6/255", "8/255"]),
        ([1, 2, 4, 8, 12], ["0", "2/255", "4/255", "6/255", "8/255", "10/255", "12/255"]),
        ([1], ["0", "1/255"]),
        ([7.65, 12.75], None),
    ],
)
def test_radii_are_drawn_in_grey_levels_where_they_are_whole(levels, expected):
    ax = Figure().subplots()
    ax.plot([0, *(level / 255 for level in levels)], np.zeros(len(levels) + 1))
    figures.radius_axis(ax, [level / 255 for level in levels])
    low, high = ax.get_xlim()
    shown = [
        tick.get_text()
        for tick, place in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True)
        if low <= place <= high
    ]
    assert shown == expected if expected else "/" not in "".join(shown)


def test_what_an_evaluation_comes_to_stands_out():
    lines = {line.get_label(): line.get_linewidth() for line in graphs.curves(made.evaluation()).axes[0].get_lines()}
    assert lines["joint: worst image"] > lines["PGD"]


def test_many_attacks_leave_their_lines_uncovered():
    names = ["fgsm", "pgd", "pgd-auc", "apgd-bce", "apgd-auc", "square", "transfer", "joint"]
    for count in (2, len(names)):
        rows = [made.row("clean", 0.0, 0.9)]
        rows += [made.row(name, epsilon, 0.5) for name in names[-count:] for epsilon in made.RADII]
        figure = graphs.curves(made.evaluation(evaluations=rows))
        inside, beneath = figure.axes[0].get_legend(), figure.legends
        shown = beneath[0] if count > graphs.FEW else inside
        assert (inside is None) == bool(beneath) == (count > graphs.FEW)
        assert len(shown.get_texts()) == count
        assert len(figure.axes[0].collections) == (1 if count > graphs.FEW else count)  # bands


def test_an_undefined_score_has_no_dot():
    found = one_radius()
    found["evaluations"][1]["macro_auc"] = None
    assert "FGSM" not in [tick.get_text() for tick in graphs.curves(found).axes[0].get_yticklabels()]


def test_bars_of_findings_are_shares_of_those_that_are_there_or_not():
    clean = np.array([[[8, 2], [1, 3]], [[6, 0], [0, 6]]])
    attacked = np.array([[[5, 5], [4, 0]], [[6, 0], [3, 3]]])
    versions = {"clean": clean, "PGD": attacked}
    figure = graphs.findings(versions, ("mass", "edema"), title="a", colour=figures.COLOURS[1])
    missed, invented = ([round(bar.get_width(), 6) for bar in ax.findobj(Rectangle)[:4]] for ax in figure.axes)
    assert missed == [0.25, 0, 1, 0.5]
    assert invented == [0.2, 0, 0.5, 0]
    assert "4 of 4" in texts(figure)


def test_long_titles_take_several_lines():
    matrix = np.eye(2, dtype=int)
    figure = graphs.confusion({"clean": (matrix, ["a", "b"])}, title="word " * 60)
    assert max(map(len, figure.get_suptitle().split("\n"))) <= 11 * figure.get_figwidth()
    assert figure.get_suptitle().count("word") == 60


def told(colour=0, names=("clean", "FGSM", "PGD-10, epsilon 0.1"), labels=6, thresholds=0.5, scale=1.0):
    """A model that says `scale` of what the labels' numbers tell, less under every further attack."""
    rng = np.random.default_rng(0)
    clean = np.full((8, 8, 1), 0.5, np.float32)
    changed = [clean, *(clean + 0.1 * rng.choice([-1, 1], clean.shape) for _ in names[1:])]
    answers = scale * np.stack([np.linspace(0.9, 0.1, labels) / (1 + number) for number in range(len(names))])
    cuts = np.full(labels, thresholds)
    pictures = dict(zip(names, changed, strict=True))
    return story.Told("run", figures.COLOURS[colour], pictures, answers, answers >= cuts, cuts)


def drawn(models, present, labels=LABELS):
    return story.draw(models, labels, np.array(present), title="phantom, test image 3", note="The patient: the first.")


def test_true_findings_are_shown_first_and_all_of_them_and_the_numbers_are_there():
    figure = drawn([told()], [False, False, False, False, True, True])
    said = texts(figure)
    # 0.26 and 0.1 clean, halved and a third: missed from the beginning.
    assert said.index("\u2717 hernia") < said.index("\u2717 fibrosis") < said.index("effusion")
    assert "26 % \u2192 13 %" in said
    assert "90 % \u2192 30 %" in said
    assert "+ effusion" in said
    assert "times 5" in said
    assert "at most 0.1" in said
    many = texts(drawn([told()], [True] * 6))
    assert all(name in many for name in LABELS)
    assert "made-up" not in many


def test_a_found_finding_that_vanishes_is_marked_and_so_is_one_that_stays():
    present = [True, False, False, False, False, False]
    vanished = texts(drawn([told()], present))
    assert "\u2713 effusion" in vanished  # clean: 90 %
    assert "\u2717 effusion" in vanished  # 45 and 30 %
    assert "\u2717 effusion" not in texts(drawn([told(thresholds=0.25)], present))


def test_only_what_was_named_on_the_clean_image_can_be_lost():
    hidden = texts(drawn([told()], [True] * 6))
    assert "effusion, lost" in hidden
    # 0.26 clean: missed from the beginning.
    assert "hernia" in hidden and "hernia, lost" not in hidden
    assert "lost" not in texts(drawn([told()], [False] * 6)).replace("lost to the attack", "")


def test_long_names_of_findings_keep_clear_of_their_numbers():
    names = (
        "Hydropneumothorax (left lung, upper lobe)",
        "Pleural_Thickening_and_more",
        "unspecified lesion of the lung",
        *LABELS[3:],
    )
    figure = drawn([told()], [True] * 6, labels=names)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for ax in (ax for ax in figure.axes if ax.patches):
        for number, name in zip(ax.texts[0::2], ax.texts[1::2], strict=True):
            assert "%" in number.get_text()
            assert name.get_window_extent(renderer).x1 < number.get_window_extent(renderer).x0, name.get_text()


def test_there_is_a_row_for_each_model_in_its_own_colour():
    one, two = drawn([told()], [True] * 6), drawn([told(), told(colour=1)], [True] * 6)
    assert two.get_figheight() > 1.7 * one.get_figheight()
    colours = {figures.COLOURS[0], figures.COLOURS[1]}
    assert colours <= {text.get_color() for text in two.texts}
    # Four pictures in each row.
    assert sum(len(ax.images) for ax in two.axes) == 8


def test_a_long_heading_is_wrapped_and_stays_inside_the_picture():
    title = "phantom (made-up data), test image 374: atelectasis, cardiomegaly, effusion, infiltration, mass, edema"
    short, long = (story.draw([told()], LABELS, np.array([True] * 6), title=one, note="") for one in ("short", title))
    renderer = FigureCanvasAgg(long).get_renderer()
    heading = next(text for text in long.texts if text.get_text().startswith("phantom"))
    assert heading.get_text().split() == title.split() and "\n" in heading.get_text()
    assert heading.get_window_extent(renderer).x1 < long.bbox.x1
    # What is beneath moves down, and no title of a column is written over.
    assert long.get_figheight() > short.get_figheight()
    titles = [ax.title.get_window_extent(renderer).y1 for ax in long.axes if ax.get_title()]
    assert max(titles) < heading.get_window_extent(renderer).y0


def test_one_label_has_one_bar_and_its_threshold():
    figure = drawn([told(labels=1, names=("clean", "PGD"))], [True], labels=("pneumonia",))
    bars = [ax for ax in figure.axes if ax.patches]
    assert [ax.patches[1].get_width() for ax in bars] == [0.9, 0.45]
    assert [line.get_xdata()[0] for ax in bars for line in ax.lines] == [0.5, 0.5]


def test_small_probabilities_have_bars_that_can_be_seen_and_their_end_is_told():
    figure = drawn([told(thresholds=0.05, scale=0.1)], [True] * 6)
    assert "Bars end at 10 %." in texts(figure)


def test_classes_have_no_thresholds():
    model = told()
    figure = drawn([story.Told("run", model.colour, model.pictures, model.answers, model.reported, None)], [True] * 6)
    assert "threshold" not in texts(figure)
    assert not any(ax.lines for ax in figure.axes)


def test_no_legend_of_reliability_hides_a_bin():
    bins = np.linspace(0.05, 0.95, 10)
    found = {name: (figures.COLOURS[0], bins, 1 - bins, np.ones(10), 0.1) for name in ("one", "two")}
    figure = graphs.reliability({"clean": found, "PGD": found}, title="a")
    FigureCanvasAgg(figure).draw()
    upper, lower = figure.axes[:2], figure.axes[2:]
    for above, beneath in zip(upper, lower, strict=True):
        assert above.get_legend() is None
        assert beneath.get_legend().get_window_extent().y1 < beneath.get_window_extent().y0
        assert len(beneath.get_legend().get_texts()) == 2
