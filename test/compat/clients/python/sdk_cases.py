"""contree-sdk against an engine: what its README and docstrings promise, synchronous and asynchronous."""

import asyncio
import os
import stat
import uuid
from datetime import timedelta

import pytest
from contree_sdk import Contree, ContreeSync
from contree_sdk.auth import IAMAuth, JWTAuth
from contree_sdk.config import ContreeConfig
from contree_sdk.sdk import exceptions
from contree_sdk.utils.models.file import UploadFileSpec

URL, TOKEN = os.environ["CONTREE_URL"], os.environ["CONTREE_TOKEN"]
BUSYBOX = "busybox:latest"


def config(token=TOKEN):
    return ContreeConfig(auth=JWTAuth(token=token, base_url=URL))


@pytest.fixture
def contree():
    return ContreeSync(config=config())


@pytest.fixture
def image(contree):
    return contree.images.use(BUSYBOX)


def text(output):
    return output.decode() if isinstance(output, bytes) else output


def test_token_info(contree):
    info = contree.get_token_info()
    assert info


def test_iam_token_with_project():
    client = ContreeSync(config=ContreeConfig(auth=IAMAuth(token=TOKEN, project_id="aiproject-1", base_url=URL)))
    assert client.images(tagged=True)


def test_unknown_token_is_refused():
    with pytest.raises(Exception) as caught:
        ContreeSync(config=config("no-such-token")).images()
    assert "Forbidden" in type(caught.value).__name__


def test_images_are_listed_with_every_tag(contree):
    tags = [image.tag for image in contree.images(tagged=True)]
    assert BUSYBOX in tags and "common/base:1" in tags


def test_images_are_iterated_and_bounded(contree):
    assert len(contree.images(number=1)) == 1
    assert next(iter(contree.images))
    assert contree.images(since=timedelta(hours=1))


def test_image_by_tag_and_uuid(contree):
    by_tag = contree.images.use(BUSYBOX, strict=True)
    assert contree.images.use(by_tag.uuid, strict=True).uuid == by_tag.uuid


def test_unknown_image(contree):
    with pytest.raises(exceptions.ContreeError):
        contree.images.use("no-such-image:1", strict=True)


def test_run_shell(image):
    result = image.run(shell='echo "Hello from Contree!"').wait()
    assert text(result.stdout) == "Hello from Contree!\n"
    assert result.exit_code == 0


def test_run_command_with_arguments_environment_and_input(image):
    result = image.run(command="/bin/env", env={"A": "1"}).wait()
    assert "A=1" in text(result.stdout)
    assert text(image.run(command="/bin/cat", stdin="input").wait().stdout) == "input"
    assert text(image.run(command="/bin/echo", args=("a", "b c")).wait().stdout) == "a b c\n"


def test_exit_code_and_both_streams(image):
    result = image.run(shell="echo out; echo err >&2; exit 3").wait()
    assert (text(result.stdout), text(result.stderr), result.exit_code) == ("out\n", "err\n", 3)


def test_runs_make_images(image):
    one = image.run(shell="echo kept > /kept", disposable=False).wait()
    assert one.read("/kept") == b"kept\n"
    two = one.run(shell="cat /kept").wait()
    assert text(two.stdout) == "kept\n"


def test_branches(image):
    base = image.run(shell="echo base > /base", disposable=False).wait()
    left = base.run(shell="echo left > /left", disposable=False).wait()
    right = base.run(shell="ls /left 2>/dev/null || echo none").wait()
    assert left.read("/left") == b"left\n"
    assert text(right.stdout) == "none\n"


def test_disposable(image):
    result = image.run(shell="echo gone > /gone", disposable=True).wait()
    assert result.exit_code == 0 and result.uuid is None


def test_files_are_uploaded(image, tmp_path):
    script = tmp_path / "app.sh"
    script.write_text("#!/bin/sh\necho app $1\n")
    spec = UploadFileSpec(source=script, path="/app.sh", mode=stat.S_IRUSR | stat.S_IXUSR)
    assert text(image.run(command="/app.sh", args=("1",), files=[spec]).wait().stdout) == "app 1\n"
    assert text(image.run(shell="cat /data", files={"/data": b"bytes"}).wait().stdout) == "bytes"


def test_upload_is_kept_once(contree, tmp_path):
    path = tmp_path / "once"
    path.write_text(uuid.uuid4().hex)
    first, second = contree.files.upload(path), contree.files.upload(str(path))
    assert (first.uuid, first.sha256) == (second.uuid, second.sha256)


def test_files_are_applied(image):
    changed = image.apply_files({"/etc/applied": b"yes"})
    assert changed.read("/etc/applied") == b"yes"


def test_directories_are_listed(image):
    items = {item.name: item for item in image.ls("/etc")}
    assert items["passwd"].is_file and not items["passwd"].is_dir


def test_files_are_downloaded(image, tmp_path):
    result = image.run(shell="echo log > /tmp/log", disposable=False).wait()
    target = tmp_path / "log"
    result.download("/tmp/log", target)
    assert target.read_text() == "log\n"


def test_missing_file(image):
    with pytest.raises(exceptions.ContreeError):
        image.run(shell="true", disposable=False).wait().read("/no/such/file")


def test_session_keeps_its_state(image):
    session = image.session()
    session.run(shell="echo one > /state", disposable=False).wait()
    session.run(shell="echo two >> /state", disposable=False).wait()
    assert session.read("/state") == b"one\ntwo\n"
    assert text(session.run(shell="cat /state").wait().stdout) == "one\ntwo\n"


def test_popen(image):
    process = image.popen(["/bin/cat"], stdin="piped", text=True)
    process.wait()
    assert process.stdout == "piped" or process.communicate()[0] == "piped"
    assert process.returncode == 0


def test_timeout(image):
    with pytest.raises(exceptions.ContreeError):
        image.run(shell="sleep 60", timeout=1).wait()


def test_tags(contree):
    changed = contree.images.use(BUSYBOX).run(shell="echo tagged > /tagged", disposable=False).wait()
    name = f"sdk/{uuid.uuid4().hex[:8]}:1"
    changed.tag_as(name)
    assert contree.images.use(name, strict=True).uuid == changed.uuid
    changed.untag()
    with pytest.raises(exceptions.ContreeError):
        contree.images.use(name, strict=True)


def test_import(contree):
    image = contree.images.oci("docker://docker.io/library/busybox:1.36")
    assert text(image.run(shell="echo imported").wait().stdout) == "imported\n"


def test_truncated_output(image):
    result = image.run(shell="yes | head -c 200000", truncate_output_at=1_000).wait()
    assert len(result.stdout) == 1_000


def test_asynchronous():
    async def main():
        client = Contree(config=config())
        image = await client.images.use(BUSYBOX)
        result = await image.run(shell="echo one > /async; echo done", disposable=False)
        assert text(result.stdout) == "done\n"
        assert await result.read("/async") == b"one\n"
        both = await asyncio.gather(*(result.run(shell=f"echo {n}") for n in ("a", "b")))
        assert [text(one.stdout) for one in both] == ["a\n", "b\n"]
        session = image.session()
        await session.run(shell="echo kept > /session", disposable=False)
        assert await session.read("/session") == b"kept\n"

    asyncio.run(main())
