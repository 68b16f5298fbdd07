"""Custom objects in the versions that a webhook converted them to; looked up where there is no time to ask."""

from __future__ import annotations

from sampan.machinery.objects import Object

MOST = 4000


class NotConverted(Exception):
    """An object is needed in a version to which nobody has converted it."""


class Known:
    """By version, uid and revision. What was not asked for lately is forgotten."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Object] = {}

    def put(self, original: Object, made: Object) -> None:
        if len(self._found) >= MOST:
            for key in list(self._found)[: MOST // 4]:
                del self._found[key]
        self._found[_key(made["apiVersion"], original)] = made

    def find(self, api_version: str, obj: Object) -> Object | None:
        return self._found.get(_key(api_version, obj))

    def get(self, api_version: str, obj: Object) -> Object:
        """Raises NotConverted."""
        found = self.find(api_version, obj)
        if found is None:
            name = obj["metadata"].get("name", "")
            raise NotConverted(f"{obj.get('kind', '')} {name} is not converted to {api_version}")
        return found


def _key(api_version: str, obj: Object) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return (api_version, meta.get("uid", ""), meta.get("resourceVersion", ""))
