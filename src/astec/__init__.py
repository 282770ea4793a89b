"""Match short texts to the most relevant of up to millions of labels, in about a millisecond on a CPU.

The parts are folders at the top of the repository: `astec.trainer` (offline, torch), `astec.export` (the on-disk
formats), `astec.server` (HTTP and offline scoring; never torch) and `astec.loadtest`.
"""

from importlib.metadata import version

__version__ = version("astec")
