"""Scores under attack, and reasons to doubt them."""
