"""Publishing a run: the checks before anything is written, then the files to the hub or to a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from tempfile import TemporaryDirectory

from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.runs.folder import differences
from safechain_ray.runs.identity import explained
from safechain_ray.runs.run_file import RUN_FILE, RunFile
from safechain_ray.sharing.card import CARD, added_keys
from safechain_ray.sharing.files import OWN_FOLDERS, is_own, shared_files
from safechain_ray.sharing.hub import HubRepository, Waits, no_repository
from safechain_ray.sharing.published import Cleaner, is_published, published_run, without_place
from safechain_ray.sharing.rows import Contents, Include
from safechain_ray.sharing.run import SharedRun, read_shared_run
from safechain_ray.sharing.terms import Terms, terms_of
from safechain_ray.storage import Folder, open_folder, parse_json

Report = Callable[[str], None]


@dataclass(frozen=True)
class Publication:
    """A run with what of it is published. `terms` are those of its data sets."""

    run: SharedRun
    contents: Contents
    terms: tuple[Terms, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the owner of the run should know before others read it, one sentence or two each."""
        found = []
        if self.run.missing:
            found.append(f"The run has not ended: {' '.join(self.run.missing)} Fix: rerun its own command, then push.")
        restricted = {each.name: each.withheld for each in self.terms if each.withheld}
        if restricted and self.contents.include == "texts":
            reasons = "; ".join(f"{name}: {reason}" for name, reason in restricted.items())
            if self.contents.withheld:
                found.append(
                    f"Prompts of these data sets are left out. {reasons}. Responses may quote them. Fix: leave "
                    "responses out too with --include verdicts, or give --with-restricted-prompts if you may publish "
                    "them."
                )
            else:
                found.append(f"Prompts with restricted terms are published. {reasons}.")
        return tuple(found)


@dataclass(frozen=True)
class Written:
    """The end of a push: where the files are, and how many were written and deleted."""

    location: str
    files: int
    deleted: int
    commit: str | None = None


def read_publication(uri: str, include: Include, with_restricted_prompts: bool) -> Publication:
    """The run in the folder `uri` and what of it may be published.

    Raises what `read_shared_run` raises, and InputError where samples are asked for and the run has none.
    """
    run = read_shared_run(uri)
    if include != "figures":
        run.folder.check_samples()
    terms = terms_of(run.run_file)
    withheld = () if with_restricted_prompts else (each.name for each in terms if each.withheld)
    return Publication(run, Contents(include, frozenset(withheld)), terms)


def push_to_hub(
    publication: Publication, name: str, private: bool | None, report: Report, waits: Waits | None = None
) -> Written:
    """Push to the data set repository `name` of the hub, which is created private if it is new.

    Raises:
        InputError: The repository holds something else, or has another visibility than `private` says.
        RunConflictError: The repository holds another run.
        StorageError: The hub refused, or did not answer.
    """
    if name.count("/") != 1:
        raise InputError(f"{name!r} is no name of a repository. Fix: write OWNER/NAME.")
    repository = HubRepository(name, waits)
    with no_repository(repository), TemporaryDirectory(prefix="safechain-ray-push-") as folder:
        _check_same(publication, repository.read_record(RUN_FILE), repository.url)
        added = added_keys(repository.read_file(CARD))
        repository.prepare(private)
        workspace = Path(folder)
        files = shared_files(publication.run, name, publication.contents, publication.terms, workspace, added)
        model = without_place(publication.run.manifest.model)
        pushed = repository.push(files, f"Run of {model} by safechain_ray", workspace, report)
    return Written(pushed.url, pushed.files, pushed.deleted, pushed.commit)


def write_to_folder(publication: Publication, uri: str, name: str | None, report: Report) -> Written:
    """Write the same files to the folder `uri`. The card has the `name` of the repository, else that of the folder.

    Raises:
        InputError: The folder is the run's own, or holds something else, such as a copy of the run.
        RunConflictError: The folder holds another run.
    """
    target = open_folder(uri)
    if _is_inside(target, publication.run.folder.folder):
        raise InputError(f"{target} is the folder of the run itself, or inside it. Fix: give an empty folder.")
    before = _own_files(target)
    _check_same(publication, target.read_bytes(RUN_FILE) if RUN_FILE in before else None, str(target))
    others = target.list_files() + [f"{each}/" for each in target.list_folders()]
    if RUN_FILE not in before and others:
        raise InputError(f"{target} holds other files ({', '.join(others[:3])}). Fix: give an empty folder.")
    added = added_keys(target.read_bytes(CARD) if CARD in before else None)
    names = set()
    with TemporaryDirectory(prefix="safechain-ray-push-") as folder:
        shown = name or PurePosixPath(target.path).name
        files = shared_files(publication.run, shown, publication.contents, publication.terms, Path(folder), added)
        for file in files:
            report(file.name)
            target.upload(file.path, file.name)
            file.path.unlink()
            names.add(file.name)
    stale = sorted(each for each in before - names if is_own(each))
    for each in stale:
        target.delete(each)
    return Written(str(target), len(names), len(stale))


def _is_inside(target: Folder, source: Folder) -> bool:
    """Whether `target` is `source` under any spelling, or inside it."""
    if target.is_local != source.is_local:
        return False
    if target.is_local:
        return Path(target.path).resolve().is_relative_to(Path(source.path).resolve())
    return PurePosixPath(normpath(target.path)).is_relative_to(normpath(source.path))


def _check_same(publication: Publication, stored: bytes | None, where: str) -> None:
    """Check that `stored`, the run.json there, is of an earlier push of the same run.

    A copy of the run has the same identity, and a push would replace its samples. So the identity alone is not enough.

    Raises:
        InputError: It was not written by a push.
        RunConflictError: It is of another run.
    """
    if stored is None:
        return
    try:
        there = RunFile.model_validate(parse_json(stored))
    except ValueError as error:
        raise InputError(f"The run.json in {where} is no record of a run. Fix: name another place.") from error
    if not is_published(there):
        raise InputError(
            f"{where} holds a run, and not an earlier push: a push would replace its files. Fix: give an empty folder "
            "or a new repository."
        )
    run_file = publication.run.run_file
    here = RunFile.model_validate(published_run(run_file, Cleaner.of(run_file)))
    if found := differences(there.identity.tree, here.identity.tree):
        raise RunConflictError(
            f"{where} holds another run. What differs (there -> here):\n{explained(found)}\nFix: name another place."
        )


def _own_files(folder: Folder) -> set[str]:
    """The files in `folder` that a push may have written, by their names in the tree."""
    found = set(folder.list_files())
    for name in OWN_FOLDERS:
        part = folder / name.rstrip("/")
        found |= {f"{name}{file}" for file in part.list_files()}
        found |= {f"{name}{inner}/{file}" for inner in part.list_folders() for file in (part / inner).list_files()}
    return found
