"""Two models on the same problems: paired differences of pass@k, with corrected tests."""

from pydantic import BaseModel, ConfigDict

from safechain_ray.metrics.holm import holm
from safechain_ray.metrics.paired import PairedMeans


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PassDifference(PairedMeans):
    """pass@k of a run minus that of the baseline, problem by problem. `p_adjusted` is Holm's over the comparison."""

    run: str
    benchmark: str
    k: int
    p_adjusted: float | None = None


class BenchmarkComparison(_Model):
    """`baseline` names the run that all others are compared with; `left_out` says what could not be, and why."""

    baseline: str
    differences: tuple[PassDifference, ...]
    left_out: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def tests(self) -> int:
        """How many p-values there are, which is the family of Holm's correction."""
        return sum(each.p_value is not None for each in self.differences)

    def corrected(self) -> "BenchmarkComparison":
        """The same with Holm's correction over every test in it."""
        adjusted = holm([each.p_value for each in self.differences])
        pairs = zip(self.differences, adjusted, strict=True)
        return self.model_copy(
            update={"differences": tuple(each.model_copy(update={"p_adjusted": p}) for each, p in pairs)}
        )
