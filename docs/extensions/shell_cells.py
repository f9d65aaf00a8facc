"""An extension of IPython: cells that begin with ``%%bash`` show what their commands print in one piece.

IPython passes it on as it comes, and MyST-NB begins a new line with each piece.
"""

import subprocess

from IPython.core.interactiveshell import InteractiveShell


def bash(_line: str, cell: str) -> None:
    """Run a cell; a command that fails ends the tutorial."""
    done = subprocess.run(
        ["bash", "-euc", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout, end="")
    done.check_returncode()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Take the place of IPython's own magic of this name."""
    shell.register_magic_function(bash, "cell")
