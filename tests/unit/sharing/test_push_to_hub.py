"""`push` over HTTP: to a hub on this machine that stores commits, refuses, breaks off, and asks to wait."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from safechain_ray.errors import InputError, RunConflictError, SafechainError, StorageError
from safechain_ray.sharing.hub import Waits
from safechain_ray.sharing.push import Written, push_to_hub, read_publication
from tests.hub_server import hub as reading_hub
from tests.unit.sharing.runs import add_judge, quickstart_run, run_with_later_judge
from tests.writable_hub import Hub, Refusal, Repository, use_hub, writable_hub

NAME = "org/demo-safety"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with writable_hub() as hub:
        use_hub(hub.address, monkeypatch)
        yield hub


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_with_later_judge(tmp_path / "run")


class Waited:
    """Waits that are noted and not waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def waits(self) -> Waits:
        return Waits(sleep=self.seconds.append)


def push(run: Path, private: bool | None = None, waited: Waited | None = None, include: Any = "texts") -> Written:
    publication = read_publication(str(run), include, False)
    return push_to_hub(publication, NAME, private, lambda name: None, (waited or Waited()).waits())


def of_commit(hub: Hub, refusals: list[Refusal]) -> None:
    """The hub answers the first commits with these refusals."""

    def refuse(method: str, path: str) -> Refusal | None:
        return refusals.pop(0) if "/commit/" in path and refusals else None

    hub.refuse = refuse


def test_a_run_is_pushed_to_a_new_private_repository_by_one_commit(hub: Hub, run: Path) -> None:
    pushed = push(run)
    repository = hub.repositories[NAME]
    assert repository.private
    assert pushed.location == f"{hub.address}/datasets/{NAME}"
    assert (pushed.files, pushed.deleted, pushed.commit) == (7, 0, repository.head)
    assert repository.commits == ["initial commit", "Run of demo-reasoner by safechain_ray"]
    samples = pq.read_table(pa.BufferReader(repository.files["samples/part-00000.parquet"])).to_pylist()
    assert [row["prompt_id"] for row in samples] == ["p0", "p1", "p2"]
    assert f'load_dataset("{NAME}", "samples"' in repository.files["README.md"].decode()


def test_the_message_of_the_commit_names_the_model_without_its_place(hub: Hub, run: Path) -> None:
    tree = json.loads((run / "run.json").read_text())
    tree["identity"]["model"]["name"] = "/home/alice-private/weights/tiny"
    (run / "run.json").write_text(json.dumps(tree))
    push(run)
    assert hub.repositories[NAME].commits[-1] == "Run of tiny by safechain_ray"


def test_a_second_push_updates_by_one_commit_and_uploads_only_what_changed(hub: Hub, run: Path) -> None:
    push(run)
    uploads, head = hub.uploads, hub.repositories[NAME].head
    again = push(run)
    assert (hub.uploads, again.commit) == (uploads, head)
    add_judge(run, "third")
    push(run)
    repository = hub.repositories[NAME]
    assert len(repository.commits) == 3
    assert "verdicts/third/part-00000.parquet" in repository.files
    fewer = push(run, include="figures")
    assert fewer.deleted == 3
    assert not [name for name in repository.files if name.startswith(("samples/", "verdicts/"))]


def test_a_second_push_keeps_the_licence_and_the_files_that_were_added_on_the_page(hub: Hub, run: Path) -> None:
    push(run)
    files = hub.repositories[NAME].files
    files["README.md"] = files["README.md"].replace(b"---\n", b"---\nlicense: mit\n", 1)
    files["samples/notes.txt"] = b"of the owner"
    hub.repositories[NAME].commits.append("Add a licence")
    push(run, include="figures")
    assert files["README.md"].startswith(b"---\nlicense: mit\n")
    assert files["samples/notes.txt"] == b"of the owner"


@pytest.mark.slow
def test_the_files_of_a_pushed_run_load_from_a_hub(hub: Hub, run: Path, tmp_path: Path) -> None:
    push(run)
    code = (
        "import sys, json; from datasets import load_dataset; "
        f"rows = load_dataset({NAME!r}, 'verdicts', split='train', cache_dir=sys.argv[1]); "
        "print(json.dumps([row['unsafe'] for row in rows]))"
    )
    with reading_hub(NAME, hub.repositories[NAME].files) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "cache")], env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, True, True]


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (401, "set HF_TOKEN to a valid token with write access, or log in with `hf auth login`."),
        (403, "use a token that may write to org, or name a repository of an owner that it may write to."),
        (409, "rerun the command: the repository changed while it was pushed."),
        (413, "free storage of the owner on the hub, or push less with --include."),
        (429, "rerun the command later. Files that the hub has are not uploaded again."),
        (500, "rerun the command later. Files that the hub has are not uploaded again."),
        (503, "rerun the command later. Files that the hub has are not uploaded again."),
        (418, "check the name of the repository and the token, and rerun the command."),
    ],
)
def test_a_hub_that_refuses_is_named_with_the_fix_and_nothing_changes(
    hub: Hub, run: Path, status: int, fix: str
) -> None:
    push(run)
    before = dict(hub.repositories[NAME].files)
    add_judge(run, "third")
    own = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    of_commit(hub, [(status, {})] * 20)
    with pytest.raises(StorageError) as error:
        push(run)
    message = str(error.value)
    assert message.startswith(f"Can't push to {hub.address}/datasets/{NAME}")
    assert str(status) in message
    assert message.endswith(f"The run and the files of the repository are unchanged. Fix: {fix}")
    assert hub.repositories[NAME].files == before
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == own


@pytest.mark.parametrize("path", ["/api/datasets/", "/api/repos/create", "/preupload/", "/info/lfs/", "/api/validate"])
def test_a_refusal_of_any_request_is_a_message(hub: Hub, run: Path, path: str) -> None:
    hub.refuse = lambda method, asked: (403, {}) if path in asked else None
    with pytest.raises(StorageError, match=r"403.* Fix: use a token that may write to org"):
        push(run)
    assert len(getattr(hub.repositories.get(NAME), "commits", [])) <= 1


def test_what_the_hub_says_to_repeat_is_repeated_after_the_time_that_it_says(hub: Hub, run: Path) -> None:
    waited = Waited()
    limit = {"ratelimit": '"api";r=0;t=11'}
    of_commit(hub, [(503, {"Retry-After": "7"}), (429, {}), (429, limit), (502, {})])
    push(run, waited=waited)
    assert waited.seconds == [7.0, 2.0, 11.0, 8.0]
    assert len(hub.repositories[NAME].commits) == 2


def test_a_wait_of_hours_is_an_error_at_once(hub: Hub, run: Path) -> None:
    waited = Waited()
    of_commit(hub, [(429, {"Retry-After": "7200"})])
    with pytest.raises(StorageError, match=r"429.*Fix: rerun the command later"):
        push(run, waited=waited)
    assert waited.seconds == []


def test_a_commit_whose_answer_is_lost_is_not_repeated(hub: Hub, run: Path) -> None:
    lost: list[Refusal] = [(502, {})]
    hub.after_commit = lambda: lost.pop() if lost else None
    pushed = push(run)
    assert hub.repositories[NAME].commits == ["initial commit", "Run of demo-reasoner by safechain_ray"]
    assert pushed.commit == hub.repositories[NAME].head


def test_a_commit_of_another_writer_meanwhile_is_not_overwritten(hub: Hub, run: Path) -> None:
    def commit_first(method: str, path: str) -> Refusal | None:
        if "/commit/" in path:
            hub.repositories[NAME].files["notes.txt"] = b"of another writer"
            hub.repositories[NAME].commits.append("of another writer")
        return None

    push(run)
    add_judge(run, "third")
    hub.refuse = commit_first
    with pytest.raises(StorageError, match=r"412.*Fix: rerun the command: the repository changed while"):
        push(run)
    assert hub.repositories[NAME].commits[-1] == "of another writer"
    hub.refuse = lambda method, path: None
    push(run)
    assert hub.repositories[NAME].files["notes.txt"] == b"of another writer"


def test_no_connection_names_the_address(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writable_hub() as gone:
        use_hub(gone.address, monkeypatch)
    waited = Waited()
    with pytest.raises(StorageError, match=r"Fix: check the network, the proxy and HF_ENDPOINT \(http://127") as error:
        push(run, waited=waited)
    assert "after 5 attempts" in str(error.value)
    assert waited.seconds == [1.0, 2.0, 4.0, 8.0]


def test_an_offline_machine_is_named_at_once(hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    waited = Waited()
    with pytest.raises(StorageError, match=r"Fix: unset HF_HUB_OFFLINE, or write the files to a folder with --output"):
        push(run, waited=waited)
    assert (waited.seconds, hub.requests) == ([], [])


def test_a_wrong_token_and_no_token_are_named(hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(StorageError, match=r"Fix: set HF_TOKEN to a valid token with write access"):
        push(run)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("safechain_ray.sharing.hub.get_token", lambda: None)
    hub.requests.clear()
    with pytest.raises(InputError, match=r"There is no token of the Hugging Face hub\. Fix: set HF_TOKEN"):
        push(run)
    assert hub.requests == []


@pytest.mark.parametrize("file", ["README.md", "model.safetensors"])
def test_a_repository_of_something_else_is_refused_before_any_upload(hub: Hub, run: Path, file: str) -> None:
    hub.repositories[NAME] = Repository(False, {".gitattributes": b"", file: b"of someone"})
    with pytest.raises(InputError, match=rf"holds other files \({file}\), and no run\. Fix: name another repository"):
        push(run)
    assert hub.repositories[NAME].files[file] == b"of someone"
    assert hub.uploads == 0


def test_a_run_that_was_uploaded_by_other_means_is_refused(hub: Hub, run: Path) -> None:
    hub.repositories[NAME] = Repository(False, {"run.json": (run / "run.json").read_bytes()})
    with pytest.raises(InputError, match=r"holds a run, and not an earlier push.*or a new repository"):
        push(run)
    assert hub.uploads == 0


def test_a_repository_of_another_run_is_refused_with_the_difference(hub: Hub, run: Path, tmp_path: Path) -> None:
    push(run)
    uploads = hub.uploads
    with pytest.raises(RunConflictError, match=r"(?s)holds another run\. What differs \(there -> here\).*Fix: name"):
        push(quickstart_run(tmp_path / "quick"))
    assert hub.uploads == uploads


@pytest.mark.parametrize(("is_private", "asked", "flag"), [(False, True, "--private"), (True, False, "--public")])
def test_the_visibility_of_a_repository_is_not_changed(
    hub: Hub, run: Path, is_private: bool, asked: bool, flag: str
) -> None:
    hub.repositories[NAME] = Repository(is_private)
    with pytest.raises(InputError, match=rf"is {'private' if is_private else 'public'} already.* or leave {flag} out"):
        push(run, private=asked)
    assert hub.uploads == 0
    push(run)
    assert hub.repositories[NAME].private == is_private


def test_a_public_repository_has_to_be_asked_for(hub: Hub, run: Path) -> None:
    push(run, private=False)
    assert not hub.repositories[NAME].private


@pytest.mark.parametrize("name", ["name", "a/b/c", "org/", "org/na me", "org/..", "org/name.git"])
def test_a_wrong_name_is_refused(hub: Hub, run: Path, name: str) -> None:
    publication = read_publication(str(run), "texts", False)
    with pytest.raises(SafechainError, match=r"is no name of a repository\. Fix: write OWNER/NAME"):
        push_to_hub(publication, name, None, lambda each: None, Waited().waits())
