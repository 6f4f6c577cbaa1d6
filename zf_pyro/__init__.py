"""Z-Forcing, stochastic recurrent networks trained with a backward-running guide, in Pyro.

What the package offers stands in ``__init__.pyi``. It is imported when it is first asked for: PyTorch takes seconds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
