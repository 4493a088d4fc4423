"""SHA-256 of many short messages at once, in C++; everything works without it."""
