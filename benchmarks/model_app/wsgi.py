# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service that brings a model: it imports the libraries that `libraries.txt` names, and maps `model.bin`.

A model begins with a line `MODEL` and its number. What else is in it does not matter here.
"""

from __future__ import annotations

import importlib
import mmap
from pathlib import Path

from flask import Flask

VERSION = "1"
HERE = Path(__file__).parent
LIBRARIES = [importlib.import_module(name) for name in (HERE / "libraries.txt").read_text().split()]

with (HERE / "model.bin").open("rb") as stream:
    MODEL = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
kind, _, number = MODEL.readline().decode("ascii", "replace").strip().partition(" ")
if kind != "MODEL":
    raise RuntimeError(f"{HERE / 'model.bin'} is not a model")

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> dict:
    """Ready: the libraries are imported, the model is there."""
    return {"version": VERSION, "model": number, "libraries": [library.__name__ for library in LIBRARIES]}
