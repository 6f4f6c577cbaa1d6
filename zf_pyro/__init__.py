"""Z-Forcing, stochastic recurrent networks trained with a backward-running guide, in Pyro.

What the package offers stands in ``__init__.pyi``. It is imported when it is first asked for: PyTorch takes seconds.
The version stands here alone: what pip noted when an editable checkout was installed is not that of the code.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
