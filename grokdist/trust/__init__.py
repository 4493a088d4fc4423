"""Digests, receipts and the statements grokdist makes about verified bytes."""
