"""Ray Data settings of one stream, in the DataContext of its own data set.

A data set copies the process-wide DataContext when it is created, and all data sets derived from it share that copy
(`Dataset.context`). The settings are written there: other Ray Data jobs of the process keep theirs. The context manager
`DataContext.current` would not do, as it replaces a global that all threads of the process read.
"""

from ray.data import DataContext, Dataset

from safechain_ray.cluster.ray_internals.hooks import Hook
from safechain_ray.cluster.ray_internals.preempt_for_starved_pool import PREEMPT_FOR_STARVED_POOL, PreemptForStarvedPool
from safechain_ray.cluster.ray_internals.replicate_to_driver import REPLICATE_TO_DRIVER, ReplicateToDriver
from safechain_ray.cluster.ray_internals.requeue_on_drain import REQUEUE_ON_DRAIN, RequeueOnDrain

SOURCE_BUFFER_BLOCKS = 32
"""Blocks that the task at the source may make ahead. The driver takes what is there in each of its six or seven steps a
second: of Ray Data's 2, that made 13 blocks/s for all replicas together (bench/scaling.py)."""

SOURCE_BUFFER = Hook(
    "source buffer",
    "a stream starts at most 13 blocks a second, for all replicas together",
    (("ray.data.context", "DataContext._max_num_blocks_in_streaming_gen_buffer"),),
)
"""Public way looked for: no public field of DataContext and no argument of `map_batches` sets this buffer."""

CALLBACKS_OF_HOOKS = (
    (REPLICATE_TO_DRIVER, ReplicateToDriver),
    (REQUEUE_ON_DRAIN, RequeueOnDrain),
    (PREEMPT_FOR_STARVED_POOL, PreemptForStarvedPool),
)


def configure(source: Dataset) -> Dataset:
    """The data set, with the settings of a stream in its own DataContext; for a data set that was just created."""
    context = source.context
    _set_options(context)
    context.custom_execution_callback_classes += [callback for hook, callback in CALLBACKS_OF_HOOKS if hook.is_on()]
    if SOURCE_BUFFER.is_on():
        context._max_num_blocks_in_streaming_gen_buffer = SOURCE_BUFFER_BLOCKS
    return source


def _set_options(context: DataContext) -> None:
    """Quiet, with the project's own progress and watchdog in place of Ray Data's."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1
    context.wait_for_min_actors_s = -1
    # An engine that can't start now won't start on the next attempt either: fail with its log at once.
    context.max_consecutive_actor_init_deaths = 0
    # A pool that lost an actor grows back to its size. Blocks queue outside of the actors, so 1 is the most there is.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 0.9
    context.raise_original_map_exception = True
    context.downstream_capacity_backpressure_ratio = 2.0
    context.execution_options.preserve_order = False
    context.memory_usage_poll_interval_s = None  # it starts a thread a task, for figures that nothing here reads
    # One asks for a pool's `ray_remote_args_fn` beside the actors: a placement group that holds GPUs for nobody.
    context.issue_detectors_config.detectors = []
