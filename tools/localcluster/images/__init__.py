"""The project's three images, built and in the cluster's registry."""

from tools.localcluster.images.building import CONTEXT, DOCKERFILES, build, look_up, unpacked_bytes

__all__ = ["CONTEXT", "DOCKERFILES", "build", "look_up", "unpacked_bytes"]
