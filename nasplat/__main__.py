"""python -m nasplat: the commands, for launchers such as torchrun."""

from __future__ import annotations

from nasplat.cli import main

if __name__ == "__main__":
    main()
