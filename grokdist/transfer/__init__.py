"""From a trusted manifest to verified bytes on this machine, and back to the proof.

The way of a fetch, and the file that does each step::

    request   plan.FetchRequest          what is wanted, from which sources, where to
    sources   sources/resolve.py         --source values and the manifest's list -> Source objects
    plan      plan.make_plan             what the disk has, what is to come, does it fit
    run       engine.fetch               workers of all sources, one board, one result
    record    record.py                  receipt, manifest and index in .grokdist/
    verify    verify.verify              hash again, report missing, mismatched, extra
    store     store.Store                where models are, found by name or directory

Inside the engine: ``board`` says which source works on which file and how failures are borne;
``part`` keeps and hashes the bytes of one file until their digest is right; ``tree`` walks a
model directory without following links; ``trees`` keeps a hash tree a file, which ``tree_builder``
has built behind the fetch, and which repair and ``spot_check`` (a range, a sample) use;
``lock``, ``index``, ``rate``, ``stop``, ``hashing`` and ``progress`` do what their names say.

Sources (``sources/``): ``base`` is the seam; ``hub`` and ``https`` (on ``http_stream``, which asks
by ``http_transport``, checks by ``http_answer`` and reads by ``http_body``), ``local`` and
``torrent`` (with ``torrent_*``) fill it; ``lazy`` puts off what is slow to load.
``torrent_create``, ``tracker`` and ``seeding`` give models to others.

In short::

    request = FetchRequest(trusted=trusted, directory=store.directory(name, revision))
    plan = make_plan(request, build_sources(request))
    result = fetch(plan, progress)
    report = verify(result.directory, trusted.manifest, receipt=result.receipt)
"""
