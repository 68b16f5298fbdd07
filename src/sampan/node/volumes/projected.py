"""projected: several sources in one directory, tokens among them, in memory."""

from __future__ import annotations

from sampan.machinery.objects import Object
from sampan.node.volumes import sources
from sampan.node.volumes.payload import Files
from sampan.node.volumes.place import Place

KIND = "projected"
SECRET = True


async def files(place: Place) -> tuple[Files, float | None]:
    """Later sources win where paths are the same. Raises VolumeError."""
    mode = place.source.get("defaultMode", sources.DEFAULT_MODE)
    found: Files = {}
    renewals: list[float] = []
    for source in place.source.get("sources") or ():
        if "configMap" in source:
            found |= await sources.referenced(
                place, "configmaps", source["configMap"]["name"], source["configMap"], mode
            )
        elif "secret" in source:
            found |= await sources.referenced(
                place, "secrets", source["secret"]["name"], source["secret"], mode
            )
        elif "downwardAPI" in source:
            found |= sources.downward_files(place, source["downwardAPI"], mode)
        elif "serviceAccountToken" in source:
            made, renew = await sources.token_files(place, source["serviceAccountToken"], mode)
            found |= made
            renewals.append(renew)
        elif "clusterTrustBundle" in source:
            found |= await sources.bundle_files(place, source["clusterTrustBundle"], mode)
        elif "podCertificate" in source:
            made, renew = await sources.certificate_files(place, source["podCertificate"], mode)
            found |= made
            renewals.append(renew)
        else:
            raise place.error(f"projected source {', '.join(source)} is not supported by this node")
    return found, min(renewals, default=None)


def references(source: Object) -> set[tuple[str, str]]:
    found = set()
    for part in source.get("sources") or ():
        for field, kind in (("configMap", "configmaps"), ("secret", "secrets")):
            if field in part:
                found.add((kind, part[field]["name"]))
    return found
