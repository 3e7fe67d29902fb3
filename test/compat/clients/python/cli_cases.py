"""contree-cli of the hosted service against an engine: each command, with its own session."""

import io
import json
import os
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import pytest

CONTREE = str(Path(sys.executable).parent / "contree")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home with a profile that `contree auth` saved."""
    home = tmp_path_factory.mktemp("home")
    saved = call(home, "auth", "--type", "jwt", "-y")
    assert saved.returncode == 0, saved.stderr
    return home


def call(home, *args, stdin=b"", cwd=None):
    env = {**os.environ, "HOME": str(home), "NO_COLOR": "1"}
    return subprocess.run([CONTREE, *args], input=stdin, capture_output=True, env=env, cwd=cwd or home, timeout=300)


@pytest.fixture
def contree(home):
    """Runs a command in a new session of busybox and returns its output."""
    session = ["-S", f"s-{uuid.uuid4().hex[:8]}"]

    def run(*args, code=0, **more):
        done = call(home, *session, *args, **more)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout.decode("utf-8", "replace")

    run("use", "tag:busybox:latest")
    return run


def test_auth_profiles(home):
    assert b"default" in call(home, "auth", "profiles").stdout


def test_images_has_every_tag(contree):
    listed = contree("images")
    assert "busybox:latest" in listed and "common/base:1" in listed
    assert "busybox:latest" not in contree("images", "--prefix", "common/")


def test_run(contree):
    assert contree("run", "--", "echo", "hi") == "hi\n"


def test_exit_code_and_shell(contree):
    assert contree("run", "-s", "--", "echo out; exit 3", code=3) == "out\n"


def test_environment_directory_and_host(contree):
    assert contree("run", "-e", "A=1", "-C", "/etc", "-H", "box", "-s", "--", "echo $A; pwd; hostname") == "1\n/etc\nbox\n"


def test_piped_input(contree):
    assert contree("run", "--", "cat", stdin=b"piped") == "piped"


def test_files_are_attached(contree, tmp_path):
    (tmp_path / "app.sh").write_text("#!/bin/sh\necho app\n")
    assert contree("run", "-F", f"{tmp_path}/app.sh:/app.sh:m0755", "--", "/app.sh") == "app\n"


def test_session_goes_on_and_back(contree):
    contree("run", "-s", "--", "echo one > /state")
    contree("run", "-s", "--", "echo two > /state")
    assert contree("cat", "/state") == "two\n"
    contree("session", "rollback", "-1")
    assert contree("cat", "/state") == "one\n"
    assert "echo two" in contree("session", "show")


def test_session_branches(contree):
    contree("run", "-s", "--", "echo main > /branch")
    contree("session", "branch", "other")
    contree("session", "checkout", "other")
    contree("run", "-s", "--", "echo other > /branch")
    contree("session", "checkout", "main")
    assert contree("cat", "/branch") == "main\n"


def test_disposable(contree):
    contree("run", "-D", "-s", "--", "echo gone > /gone")
    assert "gone" not in contree("ls", "/")


def test_cd_and_env(contree):
    contree("cd", "/etc")
    contree("env", "SET=yes")
    assert contree("run", "-s", "--", "pwd; echo $SET") == "/etc\nyes\n"


def test_list_search_and_read(contree):
    assert "passwd" in contree("ls", "/etc")
    assert "/etc/passwd:1:root" in contree("grep", "^root", "/etc")
    assert contree("cat", "/etc/group").startswith("root:")


def test_copy_and_export(contree, tmp_path):
    contree("run", "-s", "--", "mkdir -p /opt/app && echo data > /opt/app/data")
    contree("cp", "/opt/app/data", f"{tmp_path}/data")
    assert (tmp_path / "data").read_text() == "data\n"
    contree("export", "/opt/app", "-F", f"{tmp_path}/app.tar")
    assert "app/data" in tarfile.open(fileobj=io.BytesIO((tmp_path / "app.tar").read_bytes())).getnames()


def test_files_are_staged(contree, tmp_path):
    (tmp_path / "staged").write_text("staged\n")
    contree("file", "cp", f"{tmp_path}/staged", "/staged")
    assert contree("run", "--", "cat", "/staged") == "staged\n"


def test_tags(contree):
    name = f"cli/{uuid.uuid4().hex[:8]}:RC1"
    contree("run", "-s", "--", "echo tagged > /tagged")
    contree("tag", name)
    assert name in contree("images", "--prefix", name)
    contree("tag", "-U", name)
    assert name not in contree("images", "--prefix", name)


def test_import(contree):
    name = f"imported{uuid.uuid4().hex[:8]}"
    assert "SUCCESS" in contree("images", "import", f"docker.io/library/{name}:RC1")
    assert f"{name}:RC1" in contree("images")


def test_operations(contree):
    started = json.loads(contree("-o", "json", "run", "-d", "-s", "--", "echo started; sleep 60").splitlines()[-1])
    operation = started["uuid"]
    assert operation in contree("op", "ls", "-a")
    contree("kill", operation)
    contree("op", "wait", operation, code=1)
    assert "CANCELLED" in contree("op", "ls", "-a")
    assert "completion" in contree("op", "events", operation)


def test_build(contree, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "file").write_text("from the context\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox:latest AS one\n"
        "ARG WHAT=default\n"
        "WORKDIR /app\n"
        "COPY src /app/src\n"
        "RUN mkdir -p /app/out && echo built $WHAT > /app/out/result\n"
        "FROM busybox:latest\n"
        "COPY --from=one /app/out /result/out\n"
        "COPY --from=one /app/src/file /result/file\n"
        "ENV KEPT=1\n"
        "RUN cat /result/out/result /result/file > /all\n"
    )
    name = f"cli/built-{uuid.uuid4().hex[:8]}:1"
    contree("build", "--tag", name, "--build-arg", "WHAT=now", str(tmp_path))
    contree("use", f"tag:{name}")
    assert contree("cat", "/all") == "built now\nfrom the context\n"


def test_formats(contree):
    for name in ("csv", "json", "json-pretty", "plain", "table", "toml", "tsv"):
        assert "busybox:latest" in contree("-o", name, "images"), name
