"""Work and launch time of one model from whatever cells were measured: a Gaussian field, linearised at the maximum.

latency = max(g(batch, SM), h(batch, SM, quota)) under the launch gate. Log g and log h are Gaussian around the typical
curves of a reference; a cell says something about whichever of the two it shows. Robust: single cells may be far off.
Pure arithmetic; knows no gate but the launch gate (quota 100 is the same under every gate).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cells import WORK_SIZE, Points
from .reference import Reference, Scales

Floats = NDArray[np.float64]

_SCHEDULE: tuple[tuple[float, float], ...] = ((3.0, 6.0), (6.0, 3.0), (12.0, 2.0))
"""Sharpness and noise multiple of the first steps: a soft maximum first, so that no cell is claimed too early."""
_STEPS = 6
"""Steps at full sharpness."""
_LENGTHS = (1.0, 0.5, 0.25, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Log seconds at points, and the standard deviation of what would be measured there."""

    work: Floats
    launch: Floats
    latency: Floats
    deviation: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariances:
    """Of log g and log h between two sets of points."""

    work: Floats
    launch: Floats
    cross: Floats
    """Rows: log g of the first; columns: log h of the second."""
    cross_back: Floats
    """Rows: log h of the first; columns: log g of the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Dual coefficients and the values they give at the measured cells."""

    dual_work: Floats
    dual_launch: Floats
    work: Floats
    launch: Floats
    norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What is known after the cells."""

    reference: Reference
    measured: Points
    log_seconds: Floats
    state: _State
    inverse: Floats
    """Of the covariance of the cells as linearised at the end."""
    share: Floats
    """For each cell: how much it shows g rather than h."""

    def estimate(self, at: Points) -> Estimate:
        """At any points, beyond the measured ones with growing deviation."""
        scales = self.reference.scales
        cov = covariances(self.reference, at, self.measured)
        work, launch = self._curves(at, cov)
        share = work_share(work, launch, scales.sharpness)
        toward_work = cov.work * self.share + cov.cross * (1.0 - self.share)
        toward_launch = cov.cross_back * self.share + cov.launch * (1.0 - self.share)
        toward = share[:, None] * toward_work + (1.0 - share)[:, None] * toward_launch
        prior = prior_variance(self.reference, at, share)
        explained = ((toward @ self.inverse) * toward).sum(axis=1)
        noise = noise_variance(share, scales)
        return Estimate(
            work=work,
            launch=launch,
            latency=soft_maximum(work, launch, scales.sharpness),
            deviation=np.sqrt(np.maximum(prior - explained, 1e-8) + noise),
        )

    def variance_taken(self, at: Points, candidates: Points) -> Floats:
        """For each candidate: how much measuring it would take off the summed variance at the points."""
        toward = self._mixed(at, candidates)
        seen_at, seen = self._mixed(at, self.measured), self._mixed(candidates, self.measured)
        left = toward - (seen_at @ self.inverse) @ seen.T
        spread = self.estimate(candidates).deviation ** 2
        result: Floats = (left**2).sum(axis=0) / spread
        return result

    def without_itself(self) -> Estimate:
        """At each measured cell, what the others say: leave-one-out in closed form."""
        scales = self.reference.scales
        cov = covariances(self.reference, self.measured, self.measured)
        share = self.share
        off = self._weighted_residual() / np.diag(self.inverse)
        toward_work = cov.work * share + cov.cross * (1.0 - share)
        toward_launch = cov.cross_back * share + cov.launch * (1.0 - share)
        work = self.state.work - (toward_work * self.inverse).sum(axis=1) * off
        launch = self.state.launch - (toward_launch * self.inverse).sum(axis=1) * off
        return Estimate(
            work=work,
            launch=launch,
            latency=soft_maximum(work, launch, scales.sharpness),
            deviation=np.sqrt(1.0 / np.diag(self.inverse)),
        )

    def _curves(self, at: Points, cov: Covariances) -> tuple[Floats, Floats]:
        work, launch = means(self.reference, at)
        work = work + cov.work @ self.state.dual_work + cov.cross @ self.state.dual_launch
        launch = launch + cov.cross_back @ self.state.dual_work + cov.launch @ self.state.dual_launch
        return work, launch

    def _mixed(self, one: Points, other: Points) -> Floats:
        """Covariance of the linearised log latency between two sets of points."""
        sharpness = self.reference.scales.sharpness
        here = work_share(*self._curves(one, covariances(self.reference, one, self.measured)), sharpness)[:, None]
        there = work_share(*self._curves(other, covariances(self.reference, other, self.measured)), sharpness)
        cov = covariances(self.reference, one, other)
        toward_work = cov.work * there + cov.cross * (1.0 - there)
        toward_launch = cov.cross_back * there + cov.launch * (1.0 - there)
        result: Floats = here * toward_work + (1.0 - here) * toward_launch
        return result

    def _weighted_residual(self) -> Floats:
        mean_work, mean_launch = means(self.reference, self.measured)
        fitted = soft_maximum(self.state.work, self.state.launch, self.reference.scales.sharpness)
        moved = self.share * (self.state.work - mean_work) + (1.0 - self.share) * (self.state.launch - mean_launch)
        result: Floats = self.inverse @ (self.log_seconds - fitted + moved)
        return result


def fit_field(reference: Reference, measured: Points, log_seconds: Floats) -> Field:
    """Damped Gauss-Newton steps on the posterior, from a soft maximum to a sharp one."""
    scales = reference.scales
    mean_work, mean_launch = means(reference, measured)
    cov = covariances(reference, measured, measured)
    nothing = np.zeros(len(measured))
    state = _state(cov, mean_work, mean_launch, nothing, nothing)
    for sharpness, wider in (*_SCHEDULE, *((scales.sharpness, 1.0),) * _STEPS):
        inverse, share = _linearised(cov, state, scales, log_seconds, sharpness, wider)
        fitted = soft_maximum(state.work, state.launch, sharpness)
        moved = share * (state.work - mean_work) + (1.0 - share) * (state.launch - mean_launch)
        goal = inverse @ (log_seconds - fitted + moved)
        before = _misfit(state, scales, log_seconds, sharpness, wider)
        for length in _LENGTHS:
            work = state.dual_work + length * (share * goal - state.dual_work)
            launch = state.dual_launch + length * ((1.0 - share) * goal - state.dual_launch)
            tried = _state(cov, mean_work, mean_launch, work, launch)
            if _misfit(tried, scales, log_seconds, sharpness, wider) <= before + 1e-9:
                state = tried
                break
    inverse, share = _linearised(cov, state, scales, log_seconds, scales.sharpness, 1.0)
    return Field(
        reference=reference, measured=measured, log_seconds=log_seconds, state=state, inverse=inverse, share=share
    )


def means(reference: Reference, at: Points) -> tuple[Floats, Floats]:
    """Typical log g and log h."""
    return at.work_weights() @ reference.mean[:WORK_SIZE], at.launch_weights() @ reference.mean[WORK_SIZE:]


def covariances(reference: Reference, one: Points, other: Points) -> Covariances:
    """How much the value at one point says about the other."""
    core = reference.loadings
    work_one, work_other = one.work_weights() @ core[:WORK_SIZE], other.work_weights() @ core[:WORK_SIZE]
    launch_one, launch_other = one.launch_weights() @ core[WORK_SIZE:], other.launch_weights() @ core[WORK_SIZE:]
    work, launch = _deviations(one, other, reference.scales)
    return Covariances(
        work=work_one @ work_other.T + work,
        launch=launch_one @ launch_other.T + launch,
        cross=work_one @ launch_other.T,
        cross_back=launch_one @ work_other.T,
    )


def prior_variance(reference: Reference, at: Points, share: Floats) -> Floats:
    """Of the linearised log latency at each point, before any cell."""
    core, scales = reference.loadings, reference.scales
    work, launch = at.work_weights() @ core[:WORK_SIZE], at.launch_weights() @ core[WORK_SIZE:]
    mixed = share[:, None] * work + (1.0 - share)[:, None] * launch
    own_work = scales.work_smooth**2 + scales.work_rough**2 + scales.work_run**2
    own_launch = (
        scales.launch_smooth**2
        + scales.run**2
        + scales.run_quota**2
        + scales.batch_quota**2
        + scales.run_batch**2
        + scales.local**2
    )
    result: Floats = (mixed**2).sum(axis=1) + share**2 * own_work + (1.0 - share) ** 2 * own_launch
    return result


def soft_maximum(work: Floats, launch: Floats, sharpness: float) -> Floats:
    """The maximum of two logarithms, rounded where they meet."""
    result: Floats = np.maximum(work, launch) + np.log1p(np.exp(-sharpness * np.abs(work - launch))) / sharpness
    return result


def work_share(work: Floats, launch: Floats, sharpness: float) -> Floats:
    """The derivative of the soft maximum: 1 where work decides, 0 where launching does."""
    result: Floats = 1.0 / (1.0 + np.exp(np.clip(-sharpness * (work - launch), -500.0, 500.0)))
    return result


def noise_variance(share: Floats, scales: Scales) -> Floats:
    """Of one measured cell."""
    result: Floats = share * scales.work_noise**2 + (1.0 - share) * scales.launch_noise**2
    return result


def _deviations(one: Points, other: Points, scales: Scales) -> tuple[Floats, Floats]:
    """What the core does not say: smooth and rough parts of g; of h, what its process run, batch and quota add."""
    batch = np.abs(np.log(one.batch)[:, None] - np.log(other.batch)[None, :])
    sm = np.abs(np.log(one.sm)[:, None] - np.log(other.sm)[None, :])
    quota = np.abs(np.log(one.quota)[:, None] - np.log(other.quota)[None, :])
    same_sm = (one.sm[:, None] == other.sm[None, :]).astype(np.float64)
    same_batch = (one.batch[:, None] == other.batch[None, :]).astype(np.float64)
    work: Floats = (
        scales.work_smooth**2 * np.exp(-0.5 * (batch / scales.work_batch_length) ** 2 - sm / scales.work_sm_length)
        + scales.work_rough**2 * same_sm * same_batch
        + scales.work_run**2 * same_sm
    )
    near_quota: Floats = np.exp(-quota / scales.quota_length)
    launch: Floats = (
        scales.launch_smooth**2 * np.exp(-quota / scales.launch_length)
        + same_sm * (scales.run**2 + scales.run_quota**2 * near_quota)
        + scales.batch_quota**2 * same_batch * near_quota
        + scales.run_batch**2 * same_sm * same_batch
        + scales.local**2 * np.exp(-batch - sm / scales.local_sm_length - quota / scales.local_quota_length)
    )
    return work, launch


def _state(cov: Covariances, mean_work: Floats, mean_launch: Floats, work: Floats, launch: Floats) -> _State:
    moved_work = cov.work @ work + cov.cross @ launch
    moved_launch = cov.cross_back @ work + cov.launch @ launch
    return _State(
        dual_work=work,
        dual_launch=launch,
        work=mean_work + moved_work,
        launch=mean_launch + moved_launch,
        norm=float(work @ moved_work + launch @ moved_launch),
    )


def _linearised(
    cov: Covariances, state: _State, scales: Scales, log_seconds: Floats, sharpness: float, wider: float
) -> tuple[Floats, Floats]:
    """The inverse covariance of the cells, and the share of work in each."""
    share = work_share(state.work, state.launch, sharpness)
    other = 1.0 - share
    crossed = np.outer(share, other) * cov.cross
    matrix = cov.work * np.outer(share, share) + cov.launch * np.outer(other, other) + crossed + crossed.T
    noise = noise_variance(share, scales) * wider**2
    surprise = (log_seconds - soft_maximum(state.work, state.launch, sharpness)) ** 2 / noise
    trust = (scales.noise_freedom + 1.0) / (scales.noise_freedom + surprise)
    matrix[np.diag_indices(len(matrix))] += noise / trust
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64), share


def _misfit(state: _State, scales: Scales, log_seconds: Floats, sharpness: float, wider: float) -> float:
    """Twice the negative log posterior, up to a constant."""
    share = work_share(state.work, state.launch, sharpness)
    noise = noise_variance(share, scales) * wider**2
    surprise = (log_seconds - soft_maximum(state.work, state.launch, sharpness)) ** 2 / noise
    freedom = scales.noise_freedom
    return float((freedom + 1.0) * np.log1p(surprise / freedom).sum() + np.log(noise).sum()) + state.norm
