"""Spares a worker the garbage collector's passes over what it never frees: the modules and the engine that it has."""

import atexit
import gc
from functools import cache


@cache
def settle_heap() -> None:
    """Leave all that this process holds now out of later passes; called once a worker has what it works with.

    A hundred thousand objects of imported modules are otherwise walked again and again while rows are made: about a
    tenth of what a replica spends on a row whose engine answers at once.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # at the end all is to be freed, and libraries complain of what is not
