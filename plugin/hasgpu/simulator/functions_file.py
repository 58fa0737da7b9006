"""Process simulator: F.yaml, the functions of a run, with the profile each is believed to have and the truth.

Keys are those of the annotations without prefix, and a few of the simulation's own; unknown ones are errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hasgpu.fitter.cells_file import CellsFile
from hasgpu.fitter.errors import InputError
from hasgpu.model.annotations import USER_PREFIX
from hasgpu.model.intent import GpuIntent, IntentError, parse_intent
from hasgpu.model.keys import RevisionKey
from hasgpu.model.profile import Cell, LatencyProfile
from hasgpu.model.quantity import parse_duration_s

from .fitted import Statics, fitted_surface
from .located import Located, read_located
from .profile_file import read_profile
from .truth import Truth, truth_of_cells, truth_of_surface

_INTENT = ("slo-latency", "slo-percentile", "sm-partition", "time-quota", "gpu-memory", "batch-size")
_OWN = ("name", "profile", "truth", "startup", "overhead", "slo-base", "min-scale", "max-scale", "priority")
KEYS = (*_OWN[:3], *_INTENT, *_OWN[3:])
NAMESPACE = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """One function."""

    key: RevisionKey
    intent: GpuIntent
    profile: LatencyProfile
    statics: Statics = ()
    """Operator counts of the model, where the profile has them."""
    truth: Truth
    memory_bytes: int
    startup_s: float = 8.0
    overhead_s: float = 0.0
    """Time a request spends outside the GPU."""
    slo_base_s: float
    """Violations are counted at multiples of it."""
    min_scale: int = 0
    max_scale: int = 0
    """0: no bound."""
    priority: int = 0
    """As a pod's: the higher is served first where GPUs run out."""

    @property
    def name(self) -> str:
        """As in the workload."""
        return self.key.name

    @property
    def slo_s(self) -> float:
        """The latency objective."""
        assert self.intent.slo_latency_s is not None
        return self.intent.slo_latency_s


def read_functions(file: Path) -> tuple[FunctionSpec, ...]:
    """The file's functions in its order."""
    try:
        top = read_located(str(file), file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(file), 1, f"{file} can't be read: {error}") from error
    top.only(("functions",))
    reader = _Reader(file.parent)
    functions = tuple(reader.function(entry) for entry in top.mappings("functions"))
    seen: set[str] = set()
    for entry, function in zip(top.mappings("functions"), functions, strict=True):
        if function.name in seen:
            raise entry.error("name", f"function {function.name!r} stands twice")
        seen.add(function.name)
    return functions


class _Reader:
    """Reads each profile and truth once, however many functions use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._profiles: dict[Path, tuple[LatencyProfile, Statics]] = {}
        self._truths: dict[tuple[Path, str], Truth] = {}

    def function(self, entry: Located) -> FunctionSpec:
        entry.only(KEYS)
        name, profile_path = entry.text("name"), entry.text("profile")
        if not name or not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", name):
            raise entry.error("name", f"name must be letters, digits, '-', '_' and '.', was: {name!r}")
        if not profile_path:
            raise entry.error("profile", "profile is required: the file of a LatencyProfile")
        intent = _intent(entry)
        profile, statics = self._profile(entry, self._folder / profile_path)
        truth = self._truth(entry, profile, statics)
        overhead_s = _duration_s(entry, "overhead", 0.0)
        memory = intent.memory_bytes or profile.memory_bytes or 2 << 30
        return FunctionSpec(
            key=RevisionKey(NAMESPACE, name),
            intent=intent,
            profile=profile,
            statics=statics,
            truth=truth,
            memory_bytes=memory,
            startup_s=_duration_s(entry, "startup", 8.0),
            overhead_s=overhead_s,
            slo_base_s=_duration_s(entry, "slo-base", overhead_s + truth.work_s(1, 100)),
            **_scale(entry),
            priority=_whole(entry, "priority"),
        )

    def _profile(self, entry: Located, path: Path) -> tuple[LatencyProfile, Statics]:
        if path not in self._profiles:
            try:
                found = read_profile(path)
            except OSError as error:
                raise entry.error("profile", f"{path} can't be read: {error}") from error
            self._profiles[path] = found.profile, tuple(sorted((found.statics or {}).items()))
            profile, statics = self._profiles[path]
            if not statics and not any(each.cells for each in profile.measurements):
                raise InputError(str(path), 1, "the profile has neither a cell nor operator counts")
        return self._profiles[path]

    def _truth(self, entry: Located, profile: LatencyProfile, statics: Statics) -> Truth:
        truth_path = entry.text("truth")
        if truth_path is None:
            return truth_of_surface(fitted_surface(profile, _product(profile), statics))
        key = self._folder / truth_path, profile.model
        if key not in self._truths:
            try:
                self._truths[key] = truth_of_cells(_cells(key[0], profile))
            except OSError as error:
                raise entry.error("truth", f"{key[0]} can't be read: {error}") from error
        return self._truths[key]


def _intent(entry: Located) -> GpuIntent:
    wanted = {USER_PREFIX + key: text for key in _INTENT if (text := entry.text(key)) is not None}
    try:
        return parse_intent(wanted, "profile")
    except IntentError as error:
        told = error.problems[0]
        key = next((key for key in _INTENT if told.startswith(USER_PREFIX + key)), "name")
        raise entry.error(key, told.removeprefix(USER_PREFIX)) from error


def _cells(path: Path, profile: LatencyProfile) -> tuple[Cell, ...]:
    """Those of the profile's model, where the file has several."""
    file = CellsFile(path)
    cells = file.cells(profile.model if len(file.models) > 1 else None)
    if not cells:
        raise InputError(str(path), 1, "has no cell")
    return cells


def _duration_s(entry: Located, key: str, default: float) -> float:
    text = entry.text(key)
    if text is None:
        return default
    try:
        value = parse_duration_s(text)
    except ValueError as error:
        raise entry.error(key, f"{key}={text!r} is not a duration such as 8s or 70ms") from error
    if value < 0.0 or (key == "slo-base" and value == 0.0):
        raise entry.error(key, f"{key}={text!r} must not be negative or, for slo-base, zero")
    return value


def _whole(entry: Located, key: str) -> int:
    text = entry.text(key)
    if text is None:
        return 0
    if not re.fullmatch(r"\d{1,6}", text):
        raise entry.error(key, f"{key}={text!r} must be a whole number from 0")
    return int(text)


def _scale(entry: Located) -> dict[str, int]:
    least, most = _whole(entry, "min-scale"), _whole(entry, "max-scale")
    if 0 < most < least:
        raise entry.error("min-scale", f"min-scale={least} must not be above max-scale={most}")
    return {"min_scale": least, "max_scale": most}


def _product(profile: LatencyProfile) -> str:
    return next((each.gpu_product for each in profile.measurements if each.cells), "simulated")


def products(functions: Mapping[str, FunctionSpec]) -> str:
    """The product the simulated GPUs have: the first function's first that was measured."""
    return _product(next(iter(functions.values())).profile)
