"""What `explain.py` shows: where a model looks (`attribution_views`) and how it errs (`error_views`)."""
