"""The program `gelu`: `python -m gelu`."""

from ._program import main

if __name__ == "__main__":
    main()
