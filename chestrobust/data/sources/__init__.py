"""One file per kind of source; each returns `Splits`."""
