"""The process of a local server: `python -m gelu._host`."""

from ._program import host

if __name__ == "__main__":
    host()
