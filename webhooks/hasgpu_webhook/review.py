"""AdmissionReview v1 on the wire: what the API server asks and what it is answered. Pure."""

from __future__ import annotations

import base64

import msgspec

from .verdict import Verdict


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One object that wants in. ``object`` stays raw until its kind is known."""

    uid: str
    operation: str = ""
    namespace: str = ""
    name: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")
    old_object: msgspec.Raw = msgspec.Raw(b"null")


class Review(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the API server sends."""

    request: Request
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Why an object is refused."""

    message: str
    reason: str = "BadRequest"
    code: int = 400


class Response(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The answer to one request; without a patch neither patch nor patchType may be there."""

    uid: str
    allowed: bool
    patch: str | None = None
    patch_type: str | None = None
    status: Status | None = None
    warnings: list[str] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the API server gets."""

    response: Response
    api_version: str
    kind: str = "AdmissionReview"


def to_answer(review: Review, verdict: Verdict) -> bytes:
    """The verdict as the API server reads it."""
    patch = base64.b64encode(msgspec.json.encode(verdict.operations)).decode() if verdict.operations else None
    response = Response(
        uid=review.request.uid,
        allowed=verdict.allowed,
        patch=patch if verdict.allowed else None,
        patch_type="JSONPatch" if verdict.allowed and patch else None,
        status=None if verdict.allowed else Status(message=_one_line("; ".join(verdict.problems))),
        warnings=[_one_line(warning) for warning in verdict.warnings] or None,
    )
    return msgspec.json.encode(Answer(response=response, api_version=review.api_version))


def _one_line(text: str) -> str:
    """The API server silently drops a warning that holds a control character."""
    return "".join(character if character.isprintable() else " " for character in text)
