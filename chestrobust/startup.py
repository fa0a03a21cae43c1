"""How every script ends: what went wrong in one line, if it is something that the user can put right."""

import contextlib
import errno
import os
import runpy
import sys
import traceback

from chestrobust import devices, interruption
from chestrobust.errors import ExpectedError, printable

REPORT = "This is an error of the program. Please report it, with the lines above, to the project's issue tracker."


def run_script(main, *, after_interrupt="The same command with --resume continues."):
    """Call `main` and turn its outcome into an exit code, with what went wrong on standard error.

    Returns:
        What `main` returns, or 0; 2 for an expected error, or if not all could be printed; 130 for Ctrl-C; 143 for
        SIGTERM; 1 for any other exception.
    """
    os.environ["MPLBACKEND"] = "agg"  # Figures are written, never shown, whatever is set for others.
    with _outputs() as outputs:
        code = _code(main, after_interrupt)
        for output in outputs:
            output.flush()
        if code == 0 and outputs[0].failure:
            _say(
                f"standard output: expected all to be printed. Received: {outputs[0].failure}. The work itself is done."
            )
            code = 2
        return code


def _code(main, after_interrupt):
    try:
        with interruption.handled():
            return main() or 0
    except interruption.Terminated:
        print(f"\nTerminated. {after_interrupt}", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"\nInterrupted. {after_interrupt}", file=sys.stderr)
        return 130
    except Exception as error:
        expected = _expected(error, after_interrupt)
        if expected is None or "--debug" in sys.argv:  # The arguments themselves may be what is wrong.
            traceback.print_exc()
        if expected is None:
            print(REPORT, file=sys.stderr)
            return 1
        _say(expected)
        return 2


def _say(text):
    print(f"{os.path.basename(sys.argv[0])}: error: {' '.join(text.split())}", file=sys.stderr)


def run_file(path):
    """Run a Python file of the user's, which registers the classes of a model by Keras's own means; None runs nothing.

    Raises:
        ExpectedError: If there is no such file, or it fails.
    """
    if path is None:
        return
    try:
        runpy.run_path(os.path.expanduser(path), run_name="imported")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ExpectedError(f"--import {path}: expected a Python file that runs. Received: {reason:.300}") from None


def _expected(error, after_interrupt):
    """What to tell a user who can put an error right; None if it is an error of ours."""
    if isinstance(error, ExpectedError):
        return str(error)
    if devices.is_lost_worker(error):
        return f"Lost another worker. {after_interrupt}"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return f"Expected more memory. Received: {type(error).__name__}. Free some, or use a smaller --size or --limit."
    if isinstance(error, RuntimeError) and str(error).startswith("Could not determine home directory"):  # pathlib's
        return "HOME: expected the user's own folder. Received none. Set HOME, or name folders without ~ (--data-dir)."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = printable(str(error.filename))
        return f"Expected the name of a file or folder. Received one that is too long: {name:.60}..."
    return None


class _Output:
    """Standard output or error, which falls silent where it can't be written: no work is given up for that.

    Attributes:
        failure: What the system said, or None.
    """

    def __init__(self, stream):
        self._stream, self.failure = stream, None
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # Names of files may be no text.

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        with self._silenced():
            self._stream.write(text)
        return len(text)

    def flush(self):
        with self._silenced():
            self._stream.flush()

    @contextlib.contextmanager
    def _silenced(self):
        try:
            yield
        except OSError as error:
            self.failure = self.failure or printable(error.strerror or str(error))
            self._stream = open(os.devnull, "w")  # noqa: SIM115


@contextlib.contextmanager
def _outputs():
    """Standard output and error as `_Output`s for as long as the block lasts."""
    before = sys.stdout, sys.stderr
    # A stream that was closed from the start is None.
    outputs = [_Output(stream or open(os.devnull, "w")) for stream in before]  # noqa: SIM115
    sys.stdout, sys.stderr = outputs
    try:
        yield outputs
    finally:
        for name, output, stream in zip(("stdout", "stderr"), outputs, before, strict=True):
            if output.failure:
                # What is still held back would fail again when Python ends.
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    os.dup2(output.fileno(), stream.fileno())
            if getattr(sys, name) is output:
                setattr(sys, name, stream)
