"""Attack chest-X-ray classifiers, train robust ones, and say how far the numbers can be trusted."""

__version__ = "1.0.0"
