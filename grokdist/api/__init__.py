"""What can be done with a model, as functions: what the commands call and Python programs import.

``grokdist.fetch``, ``grokdist.verify`` and ``grokdist.open_model`` stand in ``fetching``,
``verifying`` and ``opening``; the other files are the steps that they share with the command line:
from a name to its manifest (``lookup``), policies (``obey``), licences (``consent`` and
``acceptances``), a request with its defaults (``request``), and a model proven before it is used
(``verified``). Nothing here prints, asks or ends the process.
"""
