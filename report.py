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
    """Of several folders, such as the shell finds for `runs/*`, those that hold something; the others are named."""
    found = [folder for folder in folders if dossier.holds(folder)]
    if not found:
        raise RunError(f"{folders[0]} and {len(folders) - 1} others: expected a finished run. Received none.")
    # A file among `runs/*` is the page itself.
    if left_out := [str(folder) for folder in folders if folder not in found and not folder.is_file()]:
        print(f"Left out, as no finished run is there: {', '.join(left_out)}")
    return found


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command begins again."))
