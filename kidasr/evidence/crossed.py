"""Intervals and p-values of differences between runs, from speakers and runs as crossed samples.

A difference in WER varies with the children it is measured on and with the seeds of the runs. Its variance is estimated as
for two-way clusters (Cameron, Gelbach and Miller, 2011, "Robust inference with multiway clustering"): that of speakers, plus
that of runs, minus that of single speakers in single runs, which both contain. Intervals and p-values use Student's t with
Satterthwaite's (1946) degrees of freedom.

The variance of runs is that of a configuration's own residuals, drawn to the mean of all, the more so the less the
configurations' variances differ beyond chance (Smyth, 2004, "Linear models and empirical Bayes methods"): two seeds tell
little, but a wild configuration must not pass for a calm one.

A fixed system (a stock model, a file of another recogniser) has no seeds, so that its variance between runs is zero. Without
any other configuration, speakers alone are a sample. Against a fixed system, the runs of a single configuration tell the
variance between seeds, too few for Satterthwaite's approximation: the degrees of freedom are those at which the 95% interval
is Cochran and Cox's (Experimental Designs, 1957), whose quantile is the mean of both samples', weighted by their variances.

Runs that share a trajectory (the same training, but another checkpoint kept) are not independent: their common part is
estimated separately, as in a split-plot design (Box, Hunter and Hunter, Statistics for Experimenters, chapter 9).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import f, t

#: Contrasts within trajectories use the spread within trajectories from this many degrees of freedom on (three seeds). With
#: fewer, the spread of all runs has the narrower interval, though it is the larger one.
WITHIN_DEGREES = 2

#: Degrees of freedom that all configurations together lend to the variance of one: at least and at most.
LENT = (2.0, 100.0)

#: A configuration whose variance is this improbable among the others' is lent the least.
WILD = 0.1


@dataclass(frozen=True)
class Panel:
    """The errors of runs on the same utterances, by speaker.

    Args:
        errors: Word errors, shape ``(speakers, runs)``.
        words: Number of words of each speaker, shape ``(speakers,)``.
        design: The columns whose combinations the runs' expected WERs are, shape ``(runs, columns)``: one column for each
            configuration, or fewer if the runs are a factorial without repetitions. What remains is the error.
        trajectories: A number for each run; runs with the same number share their training.
        fixed: Whether each run is a system as it is, which no other seed would change; None if none is.
    """

    errors: np.ndarray
    words: np.ndarray
    design: np.ndarray
    trajectories: np.ndarray
    fixed: np.ndarray | None = None

    @cached_property
    def wer(self) -> np.ndarray:
        """The WER of each run."""
        wer: np.ndarray = self.errors.sum(axis=0) / self.words.sum()
        return wer

    @cached_property
    def _shared(self) -> np.ndarray:
        """Whether two runs share a trajectory, shape ``(runs, runs)``."""
        return (self.trajectories[:, None] == self.trajectories[None, :]).astype(float)

    @cached_property
    def _residual(self) -> tuple[np.ndarray, int]:
        """The projection on the residuals of the runs, and its rank."""
        return _residual_projection(self.design)

    @cached_property
    def _within(self) -> tuple[np.ndarray, int]:
        """The same within trajectories."""
        _, number = np.unique(self.trajectories, return_inverse=True)
        return _residual_projection(np.hstack([self.design, np.eye(number.max() + 1)[number]]))

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the variance between independent runs; 0 if that is unknown."""
        return self._residual[1] - self._within[1]

    def contrasts(self, weights: np.ndarray) -> "Contrasts":
        """Weighted sums of the runs' WERs.

        Args:
            weights: Shape ``(contrasts, runs)``; each row adds up to zero, or to one for a mean.

        Returns:
            Their estimates and covariances, from speakers and runs; from speakers alone, if the variance of runs is unknown.
        """
        values = weights @ self.wer
        of_speakers = self._of_speakers(weights, values)
        speakers = len(self.words)
        if self.degrees <= 0:
            degrees = np.full(len(values), float(speakers - 1))
            zeros = np.zeros_like(of_speakers)
            return Contrasts(values, of_speakers, degrees, of_speakers, zeros, zeros, has_runs=False)
        total, between = self.wer[None, :], self._of_each_speaker()
        of_runs, runs_degrees = self._of_runs(total, weights)
        of_both, _ = self._of_runs(between, weights)
        if speakers > 1:
            of_both = of_both * speakers / (speakers - 1)
        both_degrees = runs_degrees * max(1, speakers - 1)
        covariance = _positive(of_speakers + of_runs - of_both)
        largest = np.maximum(np.diag(of_speakers), np.diag(of_runs))
        variance = np.maximum(np.diag(of_speakers + of_runs - of_both), largest)
        scale = np.sqrt(_ratio(variance, np.diag(covariance)))
        covariance = covariance * scale[:, None] * scale[None, :]
        np.fill_diagonal(covariance, variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.diag(of_speakers) ** 2 / max(1, speakers - 1)
            spread = spread + np.diag(of_runs) ** 2 / runs_degrees + np.diag(of_both) ** 2 / both_degrees
            degrees = np.where(spread > 0, variance**2 / spread, runs_degrees)
        if speakers < 2:
            degrees = np.zeros(len(values))
        elif self.fixed is not None:
            for place in np.where(weights[:, self.fixed].any(axis=1) & weights[:, ~self.fixed].any(axis=1))[0]:
                parts = of_speakers[place, place], max(0.0, of_runs[place, place] - of_both[place, place])
                degrees[place] = _cochran_cox(parts, (speakers - 1.0, float(runs_degrees[place])))
        return Contrasts(values, covariance, degrees, of_speakers, of_runs, of_both, has_runs=True)

    def _of_each_speaker(self) -> np.ndarray:
        """Each speaker's part of a run's WER, apart from what the run's WER explains: shape ``(speakers, runs)``."""
        parts: np.ndarray = (self.errors - self.words[:, None] * self.wer[None, :]) / self.words.sum()
        return parts

    def _of_speakers(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Covariance from speakers: that of a ratio of sums over a sample (Cochran, Sampling Techniques, section 6.3)."""
        speakers = len(self.words)
        if speakers < 2:
            return np.full((len(values), len(values)), np.inf)
        parts = (self.errors @ weights.T - self.words[:, None] * values[None, :]) / self.words.sum()
        covariance: np.ndarray = parts.T @ parts * speakers / (speakers - 1)
        return covariance

    def _of_runs(self, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Covariance from runs, summed over rows of values of all runs, and its degrees of freedom for each contrast."""
        residual, degrees = self._residual
        within, within_degrees = self._within
        squares = float(np.einsum("sr,rq,sq->", rows, residual, rows))
        scale, lent = self._scale(rows)
        if self.fixed is not None:
            scale = np.where(self.fixed, 0.0, scale)
        of_each = self._degrees_of_each(weights, scale, lent, float(degrees - within_degrees))
        scaled = weights * np.sqrt(scale)[None, :]
        plain = scaled @ scaled.T
        if within_degrees == 0:
            return squares / degrees * plain, of_each
        of_choice = float(np.einsum("sr,rq,sq->", rows, within, rows)) / within_degrees
        shared = self._shared
        of_training = max(0.0, (squares - of_choice * degrees) / float(np.trace(residual @ shared)))
        covariance = of_training * scaled @ shared @ scaled.T + of_choice * plain
        is_within = np.isclose(np.diag(weights @ shared @ weights.T), 0, atol=1e-12)
        enough = within_degrees >= WITHIN_DEGREES
        alone = np.where(is_within)[0]
        covariance[alone, alone] = (of_choice if enough else of_training + of_choice) * np.diag(plain)[alone]
        if enough:
            of_each[alone] = float(within_degrees)
        return covariance, of_each

    def _scale(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each run's variance divided by the mean of all, and its degrees of freedom; one where no configuration repeats."""
        if not ((self.design == 0) | (self.design == 1)).all() or (self.design.sum(axis=1) != 1).any():
            return np.ones(len(self.design)), np.full(len(self.design), np.inf)
        residual, degrees = self._residual
        squares = ((rows @ residual) ** 2).sum(axis=0) @ self.design
        own = self.design.sum(axis=0) - 1
        pooled = squares.sum() / degrees
        if pooled == 0:
            return np.ones(len(self.design)), np.full(len(self.design), np.inf)
        lent = np.full(len(own), _lent(squares, own, pooled))
        # A configuration whose runs differ far more than the others' is judged by itself.
        others = degrees - own
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (squares / own) / ((squares.sum() - squares) / others)
        lent[(own > 0) & (others > 0) & (f.sf(ratio, np.maximum(own, 1), np.maximum(others, 1)) < WILD)] = LENT[0]
        of_configuration = (squares + lent * pooled) / (own + lent) / pooled
        return self.design @ of_configuration, self.design @ (own + lent)

    def _degrees_of_each(self, weights: np.ndarray, scale: np.ndarray, lent: np.ndarray, pooled: float) -> np.ndarray:
        """Satterthwaite's degrees of freedom of each contrast, at most those of all runs together."""
        if not np.isfinite(lent).all():
            return np.full(len(weights), pooled)
        parts = (weights**2 * scale[None, :]) @ self.design
        of_configuration = np.minimum((self.design.T @ lent) / self.design.sum(axis=0), pooled)
        spread = (parts**2 / of_configuration[None, :]).sum(axis=1)
        found = np.divide(parts.sum(axis=1) ** 2, spread, out=np.full(len(weights), pooled), where=spread > 0)
        return np.minimum(found, pooled)


@dataclass(frozen=True)
class Contrasts:
    """Estimates with their covariances; arrays have one entry for each contrast."""

    values: np.ndarray
    covariance: np.ndarray
    #: Degrees of freedom of each.
    degrees: np.ndarray
    #: The parts of the covariance: from speakers, from runs, and from single speakers in single runs, which both contain.
    of_speakers: np.ndarray
    of_runs: np.ndarray
    of_both: np.ndarray
    #: Whether the variance between runs is known, and included.
    has_runs: bool

    @cached_property
    def errors(self) -> np.ndarray:
        """Standard errors."""
        return np.sqrt(np.diag(self.covariance))

    @cached_property
    def reach(self) -> np.ndarray:
        """Half the width of each 95% interval; infinite with a single speaker."""
        with np.errstate(invalid="ignore"):
            reach = self.errors * t.ppf(0.975, np.maximum(self.degrees, 1e-9))
        return np.where(self.degrees > 0, reach, np.inf)

    @cached_property
    def p(self) -> np.ndarray:
        """Two-sided p-values of no difference; 1 for values of zero without any spread."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.abs(self.values) / self.errors
            p = 2 * t.sf(ratio, np.maximum(self.degrees, 1e-9))
        p = np.where((self.errors == 0) & (np.abs(self.values) < 1e-12), 1.0, p)
        return np.where(self.degrees > 0, np.nan_to_num(p, nan=1.0), 1.0)

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlations between the estimates."""
        with np.errstate(divide="ignore", invalid="ignore"):  # of infinite or no variance
            found = self.covariance / self.errors[:, None] / self.errors[None, :]
        found = np.where(np.isfinite(found), found, 0.0)
        np.fill_diagonal(found, 1.0)
        return np.clip(found, -1, 1)


def _lent(squares: np.ndarray, degrees: np.ndarray, pooled: float) -> float:
    """Degrees of freedom of the common variance of several samples: the more alike their variances, the more (Smyth's d0).

    Args:
        squares: Sum of the squared residuals of each sample.
        degrees: Their degrees of freedom.
        pooled: The variance of all samples together.
    """
    repeated = degrees > 0
    if repeated.sum() < 2:
        return LENT[0]
    half = degrees[repeated] / 2
    variances = np.maximum(squares[repeated] / degrees[repeated], 1e-4 * pooled)
    logs = np.log(variances) - digamma(half) + np.log(half)
    beyond_chance = float(np.var(logs, ddof=1) - polygamma(1, half).mean())
    least, most = LENT
    if beyond_chance <= polygamma(1, most / 2):
        return most
    if beyond_chance >= polygamma(1, least / 2):
        return least
    return 2 * float(brentq(lambda one: polygamma(1, one) - beyond_chance, least / 2, most / 2))


def _cochran_cox(variances: tuple[float, float], degrees: tuple[float, float]) -> float:
    """The degrees of freedom of a sum of two variances, so that the 95% quantile is Cochran and Cox's, squared."""
    least, most = min(degrees), max(degrees)
    if least == most or sum(variances) <= 0:
        return least
    quantile = float(np.sqrt(np.average(t.ppf(0.975, degrees) ** 2, weights=variances)))
    return float(brentq(lambda one: t.ppf(0.975, one) - quantile, 0.999 * least, 1.001 * most))


def _residual_projection(columns: np.ndarray) -> tuple[np.ndarray, int]:
    """The projection on what the columns do not span, and its rank."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    basis = left[:, values > 1e-9 * max(1.0, values.max(initial=0))]
    return np.eye(len(columns)) - basis @ basis.T, len(columns) - basis.shape[1]


def _positive(matrix: np.ndarray) -> np.ndarray:
    """The nearest matrix without negative variances: negative eigenvalues become 0."""
    if not np.isfinite(matrix).all():
        return matrix
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    positive: np.ndarray = (vectors * np.maximum(values, 0)) @ vectors.T
    return positive


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.ones_like(above), where=(below > 0) & np.isfinite(below))
