"""``python -m zf_pyro`` is ``zf-pyro``, also for ``torchrun -m zf_pyro``."""

from zf_pyro.cli import main

if __name__ == "__main__":
    main()
