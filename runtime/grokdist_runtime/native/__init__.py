"""A kernel in C++ for CPUs, built on the machine that runs it; everything works without it."""
