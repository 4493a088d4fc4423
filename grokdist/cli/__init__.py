"""The command line: translate flags, call the library, print through ``output``."""
