"""Volumes of the kinds that once were built in and are now served by CSI drivers: which driver, and which volume.

Source: k8s.io/csi-translation-lib of 1.37 (drivers and handles; the rest of a translation matters to kubelets only).
"""

from __future__ import annotations

from sampan.machinery.objects import Object

# The CSI driver that took over from each built-in provisioner; none where its volumes are not counted.
PROVISIONERS = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/azure-file": "",
    "kubernetes.io/vsphere-volume": "",
}
# By the field of a volume: its driver, and the field that tells volumes apart.
_FIELDS = {
    "awsElasticBlockStore": ("ebs.csi.aws.com", "volumeID"),
    "gcePersistentDisk": ("pd.csi.storage.gke.io", "pdName"),
    "azureDisk": ("disk.csi.azure.com", "diskURI"),
    "cinder": ("cinder.csi.openstack.org", "volumeID"),
    "portworxVolume": ("pxd.portworx.com", "volumeID"),
}


def is_known(volume: Object) -> bool:
    """Whether a pod's volume is of a kind that a CSI driver took over."""
    return any(volume.get(field) is not None for field in (*_FIELDS, "azureFile", "vsphereVolume"))


def of_volume(volume: Object) -> tuple[str, str] | None:
    """The driver and the handle of a volume in a pod or of a PersistentVolume's spec; None for other kinds."""
    for field, (driver, name) in _FIELDS.items():
        if (source := volume.get(field)) is not None:
            handle = str(source.get(name, ""))
            # An EBS volume may be written with its zone before it.
            return driver, handle.rpartition("/")[2] if field == "awsElasticBlockStore" else handle
    return None
