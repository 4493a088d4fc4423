"""Machines of one cluster that fetch the same files give them to one another.

Each member takes a part of every file from the origin and the rest from the other members, over
a small HTTP protocol of grokdist's own on the local network. Members are not trusted: the digests
of the signed manifest decide on every machine, as for any other source. The decisions behind it:
``docs/adr/0010-cluster-sharing.md``.
"""
