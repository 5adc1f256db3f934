"""Which settings are compared with which: those of two runs, or those of one with its baseline strategy."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from safechain_ray.types import Setting

Key = Callable[[Setting], Hashable]

ALIKE: tuple[Key, ...] = (
    lambda setting: setting.setting_id,
    lambda setting: (setting.dataset, setting.strategy.model_dump_json(), _seedless(setting)),
    lambda setting: (setting.dataset, setting.strategy.model_dump_json()),
    lambda setting: (setting.dataset, setting.strategy.name),
)
"""What two settings share to be a pair, the closest likeness first."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs of settings, the baseline first, and those that have no partner or more than one possible."""

    pairs: tuple[tuple[Setting, Setting], ...]
    alone_first: tuple[Setting, ...] = ()
    alone_second: tuple[Setting, ...] = ()


def pair_runs(first: Sequence[Setting], second: Sequence[Setting]) -> Pairing:
    """Each setting of `first` with the one of `second` that is most like it, in the order of `first`.

    Equal settings are pairs. Of the others, two are a pair where data set and strategy (then options, K and sampling as
    far as they are the same) leave no choice on either side.
    """
    partners: dict[str, Setting] = {}
    taken: set[str] = set()
    for key in ALIKE:
        here, there = _by(key, first), _by(key, second)
        for shared, settings in here.items():
            possible = there.get(shared, [])
            if not len(settings) == len(possible) == 1:
                continue
            here_id, there_id = settings[0].setting_id, possible[0].setting_id
            if here_id not in partners and there_id not in taken:
                partners[here_id] = possible[0]
                taken.add(there_id)
    return Pairing(
        pairs=tuple((each, partners[each.setting_id]) for each in first if each.setting_id in partners),
        alone_first=tuple(each for each in first if each.setting_id not in partners),
        alone_second=tuple(each for each in second if each.setting_id not in taken),
    )


def pair_strategies(settings: Sequence[Setting], baseline: str) -> Pairing:
    """Each setting of another strategy with the one of strategy `baseline` on its data set, sampling and K.

    Where the baseline stands there with several options, none of them is chosen.
    """
    bases = _by(_without_strategy, [setting for setting in settings if setting.strategy.name == baseline])
    pairs: list[tuple[Setting, Setting]] = []
    alone: list[Setting] = []
    for setting in settings:
        if setting.strategy.name == baseline:
            continue
        possible = bases.get(_without_strategy(setting), [])
        if len(possible) == 1:
            pairs.append((possible[0], setting))
        else:
            alone.append(setting)
    return Pairing(tuple(pairs), alone_second=tuple(alone))


def _by(key: Key, settings: Sequence[Setting]) -> dict[Hashable, list[Setting]]:
    groups: defaultdict[Hashable, list[Setting]] = defaultdict(list)
    for setting in settings:
        groups[key(setting)].append(setting)
    return groups


def _without_strategy(setting: Setting) -> Hashable:
    return setting.dataset, setting.sampling.model_dump_json(), setting.samples


def _seedless(setting: Setting) -> Hashable:
    return setting.sampling.model_dump_json(exclude={"seed"}), setting.samples
