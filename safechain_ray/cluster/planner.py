"""Planner: bin packing of a run's pools onto the cluster before anything loads, or an error with a table and a fix."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from safechain_ray.cluster.gpu_fit import GIGABYTES_OF_TYPES, MANY_GPUS, GpuFit, Gpus, share_one_gpu
from safechain_ray.engines.start import RUNNING, Device
from safechain_ray.engines.vllm_environment import EnginePackage
from safechain_ray.errors import PlanError

Executor = Literal["mp", "ray"]

STREAM_CPUS = 1.0
"""CPUs reserved for the tasks that read and commit blocks. Without one the stream makes no progress."""


@dataclass(frozen=True, slots=True)
class Node:
    """Resources of a node, all of them or those that are free now. `memory` is RAM in GiB.

    `gpus_in_all` counts free and used GPUs, where `gpus` counts free GPUs only. `gpu_memory` is the memory of the
    smallest GPU in GB (1e9 bytes); None where it could not be read.
    """

    name: str
    cpus: float
    gpus: float
    memory: float
    gpus_in_all: float | None = None
    gpu_memory: float | None = None

    @property
    def all_gpus(self) -> float:
        """GPUs of the node, free or used."""
        return self.gpus if self.gpus_in_all is None else self.gpus_in_all

    def may_hold(self, gpus: float) -> bool:
        """Whether the node has `gpus` GPUs for one replica, free or used."""
        return gpus <= self.all_gpus


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The nodes that are up, and the nodes that an autoscaler may add, where they are known.

    With `accelerator` only GPUs of that kind are counted. `engine_package` is this machine's vLLM distribution where
    engines run on this machine; None on a cluster. `unused_gpus` are GPUs of this machine that Ray was started without.
    """

    nodes: tuple[Node, ...]
    autoscales: bool = False
    autoscaler_capacity: tuple[Node, ...] = ()
    accelerator: str | None = None
    engine_package: EnginePackage | None = None
    unused_gpus: int = 0

    @property
    def has_gpus(self) -> bool:
        return any(node.gpus for node in (*self.nodes, *self.autoscaler_capacity))

    def gpus_of(self, gigabytes: float | None) -> Gpus | None:
        """The GPUs that parallel sizes are planned for; None where their memory is unknown.

        `gigabytes` overrides the memory that was read. Where none was read, the requested accelerator gives the memory.
        An autoscaler without a known config is assumed to add nodes like those that are up.
        """
        nodes = [node for node in (*self.nodes, *self.autoscaler_capacity) if node.all_gpus]
        known = {(int(node.all_gpus), gigabytes or node.gpu_memory or 0.0) for node in nodes}
        by_node = tuple(sorted((count, memory) for count, memory in known if memory))
        smallest = gigabytes or min((memory for _, memory in by_node), default=None)
        smallest = smallest or GIGABYTES_OF_TYPES.get(self.accelerator or "")
        if smallest is None:
            return None
        if not nodes:
            return Gpus(smallest, are_known=False)
        if self.autoscales and not self.autoscaler_capacity:
            most = max(int(node.all_gpus) for node in nodes)
            return Gpus(smallest, most, max(most, MANY_GPUS), by_node, are_known=False)
        in_all = int(sum(node.all_gpus for node in nodes))
        return Gpus(smallest, max(int(node.all_gpus) for node in nodes), in_all, by_node)

    @property
    def with_autoscaler(self) -> "ClusterView":
        """The cluster with all nodes of the autoscaler up."""
        return ClusterView((*self.nodes, *self.autoscaler_capacity), accelerator=self.accelerator)


@dataclass(frozen=True, slots=True)
class PoolNeeds:
    """A requested engine pool. With `wanted` of None it gets as many replicas as fit, at most `useful`.

    `gpus` are the GPUs of one replica, a fraction where engines share a GPU. `fit` has the parallel sizes; None takes
    those of the engine. `notes` explain the sizes to the user. `seconds` estimates the time of all rows on one replica,
    in a unit that all pools share. `smaller` is the same pool on the fewest GPUs that fit it.
    """

    pool: str
    engine: str
    device: Device
    cpus: float
    gpus: float
    memory: float
    wanted: int | None = 1
    useful: int = 1
    fit: GpuFit | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    smaller: "PoolNeeds | None" = None

    @property
    def shares_a_gpu(self) -> bool:
        return 0 < self.gpus < 1


@dataclass(frozen=True, slots=True)
class PlannedPool:
    """A pool with its number of replicas. A sweep may add replicas where `may_grow`.

    The `ray` executor runs one replica on a placement group of several nodes.
    """

    needs: PoolNeeds
    replicas: int
    executor: Executor = "mp"
    may_grow: bool = False

    @property
    def running(self) -> int:
        """Concurrency of one replica where the user sets none: the requests that its engine decodes at once.

        A large GPU decodes more than 256 only where each replica has twice as many rows. Rows go to the replicas that
        are ready first, so in small runs the other replicas would get none.
        """
        if self.needs.fit is None or self.may_grow:
            return RUNNING
        rows_of_a_replica = self.needs.useful * RUNNING // self.replicas
        return max(RUNNING, min(self.needs.fit.most_running, rows_of_a_replica // 2))


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages run one after the other. The pools of one stage run at the same time."""

    stages: tuple[tuple[PlannedPool, ...], ...]
    notes: tuple[str, ...] = ()


def make_plan(pools: Sequence[PoolNeeds], view: ClusterView) -> Plan:
    """Place the pools on the cluster. `pools[0]` is the model's, which gets the resources that the others leave.

    Raises:
        PlanError: A replica does not fit even alone, or fewer replicas fit than were requested.
    """
    if view.autoscaler_capacity:
        return _plan_with_autoscaler(pools, view)
    notes = _notes_of(pools)
    misfits = [pool for pool in pools if not fits([pool], view)]
    if misfits and not view.autoscales:
        raise PlanError(_refusal(misfits, view))
    if misfits:
        names = ", ".join(pool.pool for pool in misfits)
        notes.append(f"No node fits a replica of {names} yet: the autoscaler is asked for one.")
        return Plan((tuple(planned(pool, pool.wanted or 1, view) for pool in pools),), tuple(notes))
    if fits(pools, view):
        stage = _side_by_side(pools, view)
        if not fits(_repeated(pools, [pool.replicas for pool in stage]), view):
            notes.append("Fewer replicas fit the nodes that are up than requested: the autoscaler is asked for more.")
        return Plan((stage,), tuple(notes))
    if (sharing := _on_one_gpu(pools, view)) is not None:
        return Plan((sharing,), (*_share_notes(sharing), *_notes_of(pools, 1)))
    smaller = [pool.smaller or pool for pool in pools]
    if fits(smaller, view):
        return Plan((_side_by_side(smaller, view),), tuple(_notes_of(smaller)))
    notes.append("The engines don't fit this cluster at the same time: they are loaded one after the other.")
    return Plan(tuple(_side_by_side([pool], view) for pool in pools), tuple(notes))


def _plan_with_autoscaler(pools: Sequence[PoolNeeds], view: ClusterView) -> Plan:
    """The plan for all nodes of the autoscaler, with a note where the nodes that are up don't suffice."""
    plan = make_plan(pools, view.with_autoscaler)
    if all(fits(replicas_of(stage), view) for stage in plan.stages):
        return plan
    return Plan(plan.stages, (*plan.notes, "The nodes that are up are too few: the autoscaler is asked for more."))


def replicas_of(stage: Sequence[PlannedPool]) -> list[PoolNeeds]:
    """The needs of every replica of a stage, one item each."""
    return _repeated([pool.needs for pool in stage], [pool.replicas for pool in stage])


def _notes_of(pools: Sequence[PoolNeeds], start: int = 0) -> list[str]:
    """The distinct notes of the pools, from note number `start` of each pool."""
    return list(dict.fromkeys(note for pool in pools for note in pool.notes[start:]))


def _side_by_side(pools: Sequence[PoolNeeds], view: ClusterView) -> tuple[PlannedPool, ...]:
    """One replica for each pool, then the requested ones, then further ones for the slowest pool."""
    replicas = [1] * len(pools)
    for index, pool in enumerate(pools):
        while pool.wanted is not None and replicas[index] < pool.wanted:
            if not fits(_repeated(pools, _one_more(replicas, index)), view):
                if not view.autoscales:
                    raise PlanError(
                        f"{pool.wanted} replicas of {pool.pool} were requested, {replicas[index]} fit beside the other "
                        f"pools.\n{needs_table(pools, view)}\nFix: request fewer replicas, or add nodes."
                    )
                replicas[index] = pool.wanted
                break
            replicas = _one_more(replicas, index)
    while (slowest := _slowest(pools, replicas)) is not None:
        more = _one_more(replicas, slowest)
        if more[slowest] > pools[slowest].useful or not fits(_repeated(pools, more), view):
            break
        replicas = more
    return tuple(planned(pool, count, view) for pool, count in zip(pools, replicas, strict=True))


def _slowest(pools: Sequence[PoolNeeds], replicas: Sequence[int]) -> int | None:
    """Index of the slowest pool without a requested size; None where all sizes are fixed.

    A judge that is faster than a pool of fixed size gets no further replica. The model may always get one, as the
    estimate of its time is uncertain.
    """
    is_open = [index for index, pool in enumerate(pools) if pool.wanted is None]
    slowest = max(is_open, key=lambda index: pools[index].seconds / replicas[index], default=None)
    if slowest is None or slowest == 0:
        return slowest
    fixed = (pool.seconds / replicas[index] for index, pool in enumerate(pools) if index not in is_open)
    return slowest if pools[slowest].seconds / replicas[slowest] > max(fixed, default=0.0) else None


def _one_more(replicas: Sequence[int], index: int) -> list[int]:
    return [count + (number == index) for number, count in enumerate(replicas)]


def _on_one_gpu(pools: Sequence[PoolNeeds], view: ClusterView) -> tuple[PlannedPool, ...] | None:
    """All engines on the only GPU; None where there are more GPUs, or too little memory.

    With several GPUs Ray may place a fraction on any of them, so that one could be overcommitted.
    """
    engines = [pool for pool in pools if pool.gpus]
    known = [pool.fit for pool in engines if pool.fit is not None and pool.gpus == 1 and (pool.wanted or 1) == 1]
    if len(engines) < 2 or len(known) < len(engines) or view.autoscales or sum(node.gpus for node in view.nodes) != 1:
        return None
    shared = share_one_gpu(known)
    if shared is None:
        return None
    fit_of = iter(shared)
    fraction = int(100 / len(engines)) / 100
    smaller = [replace(pool, gpus=fraction, fit=next(fit_of)) if pool.gpus else pool for pool in pools]
    return tuple(PlannedPool(pool, 1) for pool in smaller) if fits(smaller, view) else None


def _share_notes(sharing: Sequence[PlannedPool]) -> Iterator[str]:
    for pool in sharing:
        if (fit := pool.needs.fit) is not None:
            yield (
                f"{pool.needs.pool}: {fit.memory_share:.0%} of the only GPU ({fit.gpu_gigabytes:.3g} GB), "
                f"with a KV cache of {fit.cache_tokens:,} tokens and a context of {fit.context_length:,}."
            )


def planned(pool: PoolNeeds, replicas: int, view: ClusterView, may_grow: bool = False) -> PlannedPool:
    return PlannedPool(pool, replicas, "ray" if _spans_nodes(pool, view) else "mp", may_grow)


def _repeated(pools: Sequence[PoolNeeds], replicas: Sequence[int]) -> list[PoolNeeds]:
    return [pool for pool, count in zip(pools, replicas, strict=True) for _ in range(count)]


def _spans_nodes(pool: PoolNeeds, view: ClusterView) -> bool:
    return pool.gpus > 1 and not any(node.may_hold(pool.gpus) for node in view.nodes)


def fits(replicas: Sequence[PoolNeeds], view: ClusterView) -> bool:
    """Whether all items fit at the same time, with the CPUs of the stream: best-fit decreasing bin packing."""
    free = [[node.gpus, node.cpus, node.memory] for node in view.nodes]
    for replica in sorted(replicas, key=lambda pool: (-pool.gpus, -pool.memory, -pool.cpus)):
        bundles = [(float(replica.gpus), replica.cpus, replica.memory)]
        if _spans_nodes(replica, view):
            bundles = [(1.0, replica.cpus / replica.gpus, replica.memory / replica.gpus)] * int(replica.gpus)
        for bundle in bundles:
            candidates = [node for node in free if all(has >= need for has, need in zip(node, bundle, strict=True))]
            if not candidates:
                return False
            tightest = min(candidates)
            tightest[:] = [has - need for has, need in zip(tightest, bundle, strict=True)]
    return any(cpus >= STREAM_CPUS for _, cpus, _ in free)


def _refusal(misfits: Sequence[PoolNeeds], view: ClusterView) -> str:
    reason = ""
    if all(pool.gpus <= sum(node.gpus for node in view.nodes) for pool in misfits):
        fix = "add nodes with more memory or CPUs, or use a smaller model"
    elif view.accelerator is not None:
        reason = f" Only GPUs that Ray calls {view.accelerator!r} count here."
        fix = "add such nodes, or name another --accelerator"
    elif view.has_gpus:
        fix = "lower tensor_parallel_size or pipeline_parallel_size, or add nodes with more GPUs"
    elif view.unused_gpus:
        reason = f" This machine has {view.unused_gpus} GPUs, but Ray was started without them."
        fix = f"start Ray with --num-gpus={view.unused_gpus}"
    else:
        fix = (
            "join a cluster with GPUs (--ray-address or RAY_ADDRESS), "
            "or force CPUs with --device cpu (slow: only for small models)"
        )
    return f"The run does not fit the cluster.{reason}\n{needs_table(misfits, view)}\nFix: {fix}."


def needs_table(pools: Sequence[PoolNeeds], view: ClusterView) -> str:
    rows = [("", "GPUs", "CPUs", "RAM GB")]
    rows += [(f"needs: {pool.pool} ({pool.engine})", *_figures(pool.gpus, pool.cpus, pool.memory)) for pool in pools]
    rows.append(("needs: reading and committing", *_figures(0, STREAM_CPUS, 0)))
    for node, count in Counter(view.nodes).items():
        label = f"has: node {node.name}" if count == 1 else f"has: {count} x {node.name}"
        rows.append((label, *_figures(node.gpus, node.cpus, node.memory)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  "
        + "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )


def _figures(gpus: float, cpus: float, memory: float) -> tuple[str, str, str]:
    return f"{gpus:g}", f"{cpus:g}", f"{memory:.1f}"
