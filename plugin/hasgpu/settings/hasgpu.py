"""Settings: config-hasgpu, the one ConfigMap of our own. Unknown keys are told, not refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import yaml

from hasgpu.model.annotations import SETTINGS_CONFIG_MAP

from .texts import Texts

log = logging.getLogger(__name__)

NAME = SETTINGS_CONFIG_MAP

Replace = Literal["keep-last", "recreate"]
RowPolicy = Literal["slots", "token", "borrow"]
SeasonUse = Literal["prewarm", "record", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A toleration put on every GPU pod."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HasgpuSettings:
    """What an administrator may choose."""

    window_s: float = 0.04
    """W: a pod with quota q gets qW of GPU time in each window."""
    row_policy: RowPolicy = "slots"
    lent_percent: int = 0
    """With row policy borrow: so much of each row is given to nobody, and pods are sized by what the row can lend."""
    risk_quantile: float = 0.95
    """Demand is planned at this quantile of the forecast."""
    season: SeasonUse = "prewarm"
    """Whether loads are recorded, and pods started before the rises that their days repeat."""
    capacity_margin_percent: float = 10.0
    """Kept free of the predicted capacity."""
    interference_percent: float = 5.0
    """How much longer inference takes beside other pods of the same GPU."""
    overhead_s: float = 0.02
    """What a request spends outside the GPU: ingress, activator, queue-proxy, the server itself."""
    mps_client_limit: int = 48
    replace: Replace = "keep-last"
    """On a full GPU a new revision may evict old pods, but (keep-last) never the last Ready one."""
    replace_after_s: float = 30.0
    move_after_s: float = 300.0
    """Pods are moved once that could have freed a GPU for so long; 0: never."""
    progress_deadline: str = "1h"
    """Stamped on GPU revisions: waiting for room must not fail them."""
    runtime_class_name: str = "nvidia"
    tolerations: tuple[Toleration, ...] = ()
    sidecar_image: str = ""
    """Empty: the one of the release, which the webhook's Deployment names."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    unknown_keys: tuple[str, ...] = ()

    @property
    def row_percent(self) -> int:
        """Time of each row that may be given away."""
        return 100 - self.lent_percent if self.row_policy == "borrow" else 100


def parse_hasgpu(data: Mapping[str, str]) -> HasgpuSettings:
    """The settings, or a SettingsError."""
    texts = Texts(NAME, data)
    texts.duration_s("progress-deadline", 0.0)
    settings = HasgpuSettings(
        window_s=texts.duration_s("window", 0.04),
        row_policy=cast("RowPolicy", texts.choice("row-policy", "slots", "slots", "token", "borrow")),
        lent_percent=texts.int32("lent-percent", 0),
        risk_quantile=texts.number("risk-quantile", 0.95),
        season=cast("SeasonUse", texts.choice("season", "prewarm", "prewarm", "record", "off")),
        capacity_margin_percent=texts.number("capacity-margin-percent", 10.0),
        interference_percent=texts.number("interference-percent", 5.0),
        overhead_s=texts.duration_s("overhead", 0.02),
        mps_client_limit=texts.int32("mps-client-limit", 48),
        replace=cast("Replace", texts.choice("replace", "keep-last", "keep-last", "recreate")),
        replace_after_s=texts.duration_s("replace-after", 30.0),
        move_after_s=texts.duration_s("move-after", 300.0),
        progress_deadline=texts.text("progress-deadline", "1h"),
        runtime_class_name=texts.text("runtime-class-name", "nvidia"),
        tolerations=_tolerations(texts),
        sidecar_image=texts.text("sidecar-image", ""),
        image_pull_policy=texts.choice("image-pull-policy", "IfNotPresent", "IfNotPresent", "Always", "Never"),
        image_pull_secrets=tuple(filter(None, texts.text("image-pull-secrets", "").replace(",", " ").split())),
        unknown_keys=texts.unknown(),
    )
    _check(texts, settings)
    if settings.unknown_keys:
        log.warning("%s: unknown keys are ignored: %s", NAME, ", ".join(settings.unknown_keys))
    return settings


def _check(texts: Texts, settings: HasgpuSettings) -> None:
    deadline_s = texts.duration_s("progress-deadline", 3600.0)
    texts.require(0.01 <= settings.window_s <= 0.2, "window", "must be in [10ms; 200ms]")
    texts.require(0 <= settings.lent_percent <= 90, "lent-percent", "must be in [0, 90]")
    texts.require(0.5 <= settings.risk_quantile < 1, "risk-quantile", "must be in [0.5, 1)")
    texts.require(0 <= settings.capacity_margin_percent <= 90, "capacity-margin-percent", "must be in [0, 90]")
    texts.require(0 <= settings.interference_percent <= 100, "interference-percent", "must be in [0, 100]")
    texts.require(0 <= settings.overhead_s <= 60, "overhead", "must be in [0s; 1m]")
    # CUDA MPS serves at most 48 clients on Volta and newer (60 from driver 570 on): a lower limit leaves room.
    texts.require(1 <= settings.mps_client_limit <= 60, "mps-client-limit", "must be in [1, 60]")
    texts.require(settings.replace_after_s >= 0, "replace-after", "cannot be negative")
    texts.require(settings.move_after_s >= 0, "move-after", "cannot be negative")
    texts.require(
        deadline_s > 0 and deadline_s == int(deadline_s), "progress-deadline", "must be positive, whole seconds"
    )


def _tolerations(texts: Texts) -> tuple[Toleration, ...]:
    key, shape = "tolerations", "must be a YAML list of tolerations, e.g. [{key: gpu, operator: Exists}]"
    try:
        parsed = yaml.safe_load(texts.text(key, "[]")) or []
    except yaml.YAMLError as error:
        raise texts.error(key, f"not YAML: {error}") from error
    texts.require(isinstance(parsed, list) and all(isinstance(each, dict) for each in parsed), key, shape)
    fields = {"key", "operator", "value", "effect"}
    for each in parsed:
        texts.require(set(each) <= fields and all(isinstance(value, str) for value in each.values()), key, shape)
        texts.require(each.get("operator", "Equal") in ("Equal", "Exists"), key, "operator must be Equal or Exists")
    return tuple(Toleration(**each) for each in parsed)
