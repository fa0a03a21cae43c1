"""The training loop, what it trains on, and the search for good options."""
