"""Grok-1's layers on one GPU: how long they take, and what the compiler made of them."""
