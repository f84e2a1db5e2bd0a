"""The security context of everything that runs: the Pod Security Standard *restricted*."""

from typing import Any

USER = 65532


def pod_security_context() -> dict[str, Any]:
    """Non-root, with the runtime's default seccomp profile; volumes belong to the group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> dict[str, Any]:
    """Nothing to escalate to, nothing to write to."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
