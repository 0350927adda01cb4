"""The base of every value that flows between rooms or lies in a file."""

from typing import Any, dataclass_transform

import msgspec


class _Strict(msgspec.StructMeta):
    """Makes the strict settings the default of every value; msgspec itself does not hand `kw_only` down to a subclass."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **settings: Any) -> "_Strict":
        return super().__new__(mcs, name, bases, namespace, **{"frozen": True, "kw_only": True, "forbid_unknown_fields": True, **settings})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, metaclass=_Strict):
    """Frozen, keyword-only, strictly typed; an unknown field is refused. Compare with ==, change with `msgspec.structs.replace`."""
