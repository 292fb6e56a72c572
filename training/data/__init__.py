"""Labelled pictures: where they are, what is in them, and how they become batches."""
