"""What tells a case from its workload's others, in few words."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Named(NamedTuple):
    """What a case is told by: its key, its workload, its complete configuration and its threads a rank."""

    key: str
    workload: str
    config: Mapping[str, Any]
    threads: int


def telling_settings(cases: Iterable[Named]) -> dict[str, str]:
    """By case key: the settings in which the workload's cases differ, as key=value text; empty where they are all the same."""
    by_workload: dict[str, dict[str, dict[str, str]]] = {}
    for case in cases:
        settings = {name: str(value) for name, value in case.config.items()} | {"threads": str(case.threads)}
        by_workload.setdefault(case.workload, {})[case.key] = settings
    return {key: text for configs in by_workload.values() for key, text in _differing(configs).items()}


def _differing(configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    common = set.intersection(*(set(config.items()) for config in configs.values()))
    return {key: ", ".join(f"{name}={value}" for name, value in sorted(set(config.items()) - common)) for key, config in configs.items()}
