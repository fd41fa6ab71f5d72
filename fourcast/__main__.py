"""So that ``python -m fourcast`` and ``torchrun -m fourcast`` work."""

from fourcast.cli import main

if __name__ == "__main__":
    main()
