"""hwbench: measure what you have, predict what you would buy, prove the prediction, notice when it gets slower."""

from pathlib import Path as _Path

__version__ = "0.1.0"

# In a checkout the rooms workloads/, reports/ and cluster_profiles/ lie beside this package; an install maps them inside it.
_checkout = _Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "cluster_profiles").is_dir():
    __path__.append(str(_checkout))
