"""What `explain.py` shows: where a model looks (`insights`), how it errs (`review`), and what both are made of."""
