"""Pod Security ``restricted`` against a template: what is missing, in words. Pure.

Only this level can refuse a GPU service for what its user wrote: what the webhook injects satisfies it, and
``baseline`` forbids nothing that Knative lets through. Kubernetes itself would tell too late: not the Service but its
first pod is refused, and the user waits for a Revision that never comes.
"""

from __future__ import annotations

from .objects import Container, SecurityContext, Template
from .reserved import USER_CONTAINER

_SECCOMP = ("RuntimeDefault", "Localhost")


def restricted_gaps(template: Template, defaults: str) -> list[str]:
    """What each container lacks; ``defaults`` is Knative's secure-pod-defaults, which fills some of it in."""
    defaults = defaults.lower()
    if defaults == "enabled":
        return []
    pod = template.spec.security_context or SecurityContext()
    gaps = []
    for container in [*template.spec.containers, *template.spec.starters]:
        missing = _missing(container, pod, filled=defaults == "allowrootbounded")
        if missing:
            name = container.name or USER_CONTAINER
            gaps.append(f"container {name!r} needs securityContext {', '.join(missing)}")
    return gaps


def _missing(container: Container, pod: SecurityContext, *, filled: bool) -> list[str]:
    own = container.security_context or SecurityContext()
    missing = []
    non_root = own.run_as_non_root if own.run_as_non_root is not None else pod.run_as_non_root
    if not non_root:
        missing.append("runAsNonRoot: true")
    if filled:
        return missing
    if own.allow_privilege_escalation is not False:
        missing.append("allowPrivilegeEscalation: false")
    if own.capabilities is None or "ALL" not in (own.capabilities.drop or ()):
        missing.append("capabilities.drop: [ALL]")
    seccomp = own.seccomp_profile or pod.seccomp_profile
    if seccomp is None or seccomp.type not in _SECCOMP:
        missing.append("seccompProfile.type: RuntimeDefault")
    return missing
