"""What `explain.py` shows: where a model looks (`attribution_views`), how it errs (`error_views`), and what both are made of."""
