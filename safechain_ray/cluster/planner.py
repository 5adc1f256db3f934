"""Decides, before anything loads, how a run's pools stand on the cluster, or refuses with a table and a fix."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from safechain_ray.cluster.gpu_fit import GpuFit, share_one_gpu
from safechain_ray.cluster.gpu_supply import GIGABYTES_OF_TYPES, MANY_GPUS, Gpus
from safechain_ray.engines.environment import EnginePackage
from safechain_ray.engines.start import RUNNING, Device
from safechain_ray.errors import PlanError

Executor = Literal["mp", "ray"]

STREAM_CPUS = 1.0
"""CPUs that the engines leave to the tasks beside them, which read and commit: without one the stream stands still."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a node of the cluster has; memory in gigabytes.

    Where that is what is free on it now, `gpus_in_all` are its GPUs, free or not. `gpu_memory` is that of its smallest
    GPU, in 1e9 bytes; None where it could not be read.
    """

    name: str
    cpus: float
    gpus: float
    memory: float
    gpus_in_all: float | None = None
    gpu_memory: float | None = None

    @property
    def all_gpus(self) -> float:
        """Free or not."""
        return self.gpus if self.gpus_in_all is None else self.gpus_in_all

    def may_hold(self, gpus: float) -> bool:
        """Whether a replica of so many GPUs stands on this node alone, if not now then when others have left it."""
        return gpus <= self.all_gpus


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The nodes there are, whether an autoscaler may bring more, and which, where that is known.

    With `accelerator` only GPUs of that kind are counted. `engine_package` is the vLLM of this machine, where engines
    run here; None on a cluster, whose nodes have their own. `unused_gpus` are those of this machine that Ray was
    started without.
    """

    nodes: tuple[Node, ...]
    autoscales: bool = False
    may_come: tuple[Node, ...] = ()
    accelerator: str | None = None
    engine_package: EnginePackage | None = None
    unused_gpus: int = 0

    @property
    def has_gpus(self) -> bool:
        return any(node.gpus for node in (*self.nodes, *self.may_come))

    def gpus_of(self, gigabytes: float | None) -> Gpus | None:
        """The GPUs that sizes are planned for; None where no memory is known.

        `gigabytes` takes the place of what was read, and the accelerator that was asked for of what was not. An
        autoscaler without a known config may bring more nodes like those that are up.
        """
        nodes = [node for node in (*self.nodes, *self.may_come) if node.all_gpus]
        known = {(int(node.all_gpus), gigabytes or node.gpu_memory or 0.0) for node in nodes}
        by_node = tuple(sorted((count, memory) for count, memory in known if memory))
        smallest = gigabytes or min((memory for _, memory in by_node), default=None)
        smallest = smallest or GIGABYTES_OF_TYPES.get(self.accelerator or "")
        if smallest is None:
            return None
        if not nodes:
            return Gpus(smallest, are_known=False)
        if self.autoscales and not self.may_come:
            most = max(int(node.all_gpus) for node in nodes)
            return Gpus(smallest, most, max(most, MANY_GPUS), by_node, are_known=False)
        in_all = int(sum(node.all_gpus for node in nodes))
        return Gpus(smallest, max(int(node.all_gpus) for node in nodes), in_all, by_node)

    @property
    def grown(self) -> "ClusterView":
        """The cluster with every node up that may come."""
        return ClusterView((*self.nodes, *self.may_come), accelerator=self.accelerator)


@dataclass(frozen=True, slots=True)
class PoolNeeds:
    """An engine pool as the run asks for it. `wanted` replicas of None are as many as fit, at most `useful`.

    `gpus` are those of one replica: a fraction where engines share one. `fit` says how they are used; None takes the
    engine's own sizes. `notes` say why, for a person. `seconds` are what all work takes one replica, in any unit that
    the pools have in common. `smaller` is the same pool on the fewest GPUs that hold it.
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
    """A pool with its replicas, which a sweep lets grow where `may_grow`.

    The `ray` executor spreads one replica over a placement group of several nodes.
    """

    needs: PoolNeeds
    replicas: int
    executor: Executor = "mp"
    may_grow: bool = False

    @property
    def running(self) -> int:
        """Requests that one replica decodes at once, where the user says nothing.

        A large GPU decodes more than 256 only where each replica has twice as many rows: rows go to the replicas that
        are ready first, and small runs would leave the others without any.
        """
        if self.needs.fit is None or self.may_grow:
            return RUNNING
        rows_of_a_replica = self.needs.useful * RUNNING // self.replicas
        return max(RUNNING, min(self.needs.fit.most_running, rows_of_a_replica // 2))


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages, one after the other; the pools of one stage stand side by side and overlap."""

    stages: tuple[tuple[PlannedPool, ...], ...]
    notes: tuple[str, ...] = ()


def make_plan(pools: Sequence[PoolNeeds], view: ClusterView) -> Plan:
    """Lay the pools on the cluster. `pools[0]` is the model's, which gets all that the others leave.

    Raises PlanError where a replica of a pool can't stand even alone, or fewer replicas fit than were asked for.
    """
    if view.may_come:
        return _grown_plan(pools, view)
    notes = _notes_of(pools)
    misfits = [pool for pool in pools if not fits([pool], view)]
    if misfits and not view.autoscales:
        raise PlanError(_refusal(misfits, view))
    if misfits:
        names = ", ".join(pool.pool for pool in misfits)
        notes.append(f"No node holds a replica of {names} yet; the autoscaler is asked for one.")
        return Plan((tuple(planned(pool, pool.wanted or 1, view) for pool in pools),), tuple(notes))
    if fits(pools, view):
        stage = _side_by_side(pools, view)
        if not fits(_repeated(pools, [pool.replicas for pool in stage]), view):
            notes.append("The nodes that are up hold fewer replicas than asked for; the autoscaler is asked for more.")
        return Plan((stage,), tuple(notes))
    if (sharing := _on_one_gpu(pools, view)) is not None:
        return Plan((sharing,), (*_share_notes(sharing), *_notes_of(pools, 1)))
    smaller = [pool.smaller or pool for pool in pools]
    if fits(smaller, view):
        return Plan((_side_by_side(smaller, view),), tuple(_notes_of(smaller)))
    notes.append("The engines can't stand side by side on this cluster: they are loaded one after the other.")
    return Plan(tuple(_side_by_side([pool], view) for pool in pools), tuple(notes))


def _grown_plan(pools: Sequence[PoolNeeds], view: ClusterView) -> Plan:
    """The plan with every node up that may come, and a note where they must come first."""
    plan = make_plan(pools, view.grown)
    if all(fits(replicas_of(stage), view) for stage in plan.stages):
        return plan
    return Plan(plan.stages, (*plan.notes, "The nodes that are up don't hold all of it: the autoscaler is asked."))


def replicas_of(stage: Sequence[PlannedPool]) -> list[PoolNeeds]:
    """The needs of every replica of a stage, one item each."""
    return _repeated([pool.needs for pool in stage], [pool.replicas for pool in stage])


def _notes_of(pools: Sequence[PoolNeeds], start: int = 0) -> list[str]:
    """Each note once; from the second one of each pool on with `start` 1."""
    return list(dict.fromkeys(note for pool in pools for note in pool.notes[start:]))


def _side_by_side(pools: Sequence[PoolNeeds], view: ClusterView) -> tuple[PlannedPool, ...]:
    """One replica each, then those that were asked for, then one after the other where most work is left for each."""
    replicas = [1] * len(pools)
    for place, pool in enumerate(pools):
        while pool.wanted is not None and replicas[place] < pool.wanted:
            if not fits(_repeated(pools, _one_more(replicas, place)), view):
                if not view.autoscales:
                    raise PlanError(
                        f"{pool.wanted} replicas of {pool.pool} were asked for, {replicas[place]} fit beside the other "
                        f"pools.\n{needs_table(pools, view)}\nAsk for fewer replicas, or add nodes."
                    )
                replicas[place] = pool.wanted
                break
            replicas = _one_more(replicas, place)
    while (slowest := _slowest(pools, replicas)) is not None:
        more = _one_more(replicas, slowest)
        if more[slowest] > pools[slowest].useful or not fits(_repeated(pools, more), view):
            break
        replicas = more
    return tuple(planned(pool, count, view) for pool, count in zip(pools, replicas, strict=True))


def _slowest(pools: Sequence[PoolNeeds], replicas: Sequence[int]) -> int | None:
    """Of the pools whose size is open the one that takes longest, the first of equals; None where all are fixed.

    None, too, where a judge is faster than a pool of fixed size. A model grows beside any judge: its time is a guess.
    """
    is_open = [place for place, pool in enumerate(pools) if pool.wanted is None]
    slowest = max(is_open, key=lambda place: pools[place].seconds / replicas[place], default=None)
    if slowest is None or slowest == 0:
        return slowest
    fixed = (pool.seconds / replicas[place] for place, pool in enumerate(pools) if place not in is_open)
    return slowest if pools[slowest].seconds / replicas[slowest] > max(fixed, default=0.0) else None


def _one_more(replicas: Sequence[int], place: int) -> list[int]:
    return [count + (number == place) for number, count in enumerate(replicas)]


def _on_one_gpu(pools: Sequence[PoolNeeds], view: ClusterView) -> tuple[PlannedPool, ...] | None:
    """All engines on the only GPU; None where there are more, or the memory does not suffice.

    With several GPUs Ray may put a fraction on any of them, so that one would be overfull.
    """
    engines = [pool for pool in pools if pool.gpus]
    known = [pool.fit for pool in engines if pool.fit is not None and pool.gpus == 1 and (pool.wanted or 1) == 1]
    if len(engines) < 2 or len(known) < len(engines) or view.autoscales or sum(node.gpus for node in view.nodes) != 1:
        return None
    shared = share_one_gpu(known)
    if shared is None:
        return None
    places = iter(shared)
    part = int(100 / len(engines)) / 100
    smaller = [replace(pool, gpus=part, fit=next(places)) if pool.gpus else pool for pool in pools]
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
    """Whether one replica of each item can stand at the same time, and the stream beside them.

    Largest first, each where it leaves least over.
    """
    free = [[node.gpus, node.cpus, node.memory] for node in view.nodes]
    for replica in sorted(replicas, key=lambda pool: (-pool.gpus, -pool.memory, -pool.cpus)):
        pieces = [(float(replica.gpus), replica.cpus, replica.memory)]
        if _spans_nodes(replica, view):
            pieces = [(1.0, replica.cpus / replica.gpus, replica.memory / replica.gpus)] * int(replica.gpus)
        for piece in pieces:
            places = [place for place in free if all(has >= need for has, need in zip(place, piece, strict=True))]
            if not places:
                return False
            tightest = min(places)
            tightest[:] = [has - need for has, need in zip(tightest, piece, strict=True)]
    return any(cpus >= STREAM_CPUS for _, cpus, _ in free)


def _refusal(misfits: Sequence[PoolNeeds], view: ClusterView) -> str:
    if all(pool.gpus <= sum(node.gpus for node in view.nodes) for pool in misfits):
        fix = "add nodes with more memory or CPUs, or take a smaller model"
    elif view.accelerator is not None:
        fix = f"only GPUs that Ray calls {view.accelerator!r} count here: add such nodes, or name another --accelerator"
    elif view.has_gpus:
        fix = "lower tensor_parallel_size or pipeline_parallel_size, or add nodes with more GPUs"
    elif view.unused_gpus:
        fix = (
            f"this machine has {view.unused_gpus} GPUs, but Ray was started without them: start it with "
            f"--num-gpus={view.unused_gpus}"
        )
    else:
        fix = (
            "join a cluster with GPUs (--ray-address or RAY_ADDRESS); "
            "or insist on CPUs with --device cpu (slow: only for small models)"
        )
    return f"The cluster can't hold this run.\n{needs_table(misfits, view)}\nFix: {fix}."


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
