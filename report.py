"""Put all there is to say of a run on one page, or of several runs side by side.

    python report.py runs/robust                     RUN/report.html, with the run's baseline beside it
    python report.py runs/* --out comparison.html    several runs in one table and one plot

Made from the files of the runs alone, in seconds and without a model. The page is one file that needs no network.
"""

import sys
from pathlib import Path

from chestrobust import config, startup
from chestrobust.errors import RunError
from chestrobust.reporting import dossier, page
from chestrobust.runs import Run, read_back


def main(arguments=None):
    """Read, draw, say where."""
    options = config.parse(config.ReportConfig, arguments, description=__doc__)
    folders = [Path(text).expanduser() for text in options.subjects]
    if len(folders) > 1:
        folders = _reportable(folders)
    path = Path(options.out).expanduser() if options.out else page.place(folders)
    for name, sentence in page.compare(folders, path):
        print(f"{name}: {sentence}")
    print(f"\nReport: {path}")


def _reportable(folders):
    """Of several folders, such as the shell finds for `runs/*`, those with results that can be read.

    The others are named, in a line each.
    """
    found = []
    # A file among `runs/*` is the page itself, or a comparison.
    for folder in (one for one in folders if not one.is_file()):
        try:
            if dossier.holds(folder):
                with read_back(Run(folder)):
                    page.render(dossier.read(folder))  # What is damaged anywhere shows here, and in whose results.
                found.append(folder)
            else:
                print(f"Left out, as no finished run is there: {folder}")
        except RunError as error:
            print(f"Left out, as it can't be read: {error}")
    if not found:
        raise RunError(f"{folders[0]} and {len(folders) - 1} others: expected a finished run. Received none.")
    return found


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command begins again."))
