"""contree-mcp of the hosted service as a client of an engine: each of its tools that needs no browser."""

import asyncio
import json
import os
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVER = str(Path(sys.executable).parent / "contree-mcp")
ARGS = ["--auth-type", "jwt", "--url", os.environ["CONTREE_URL"], "--token", os.environ["CONTREE_TOKEN"]]

ANONYMOUS = {"i_accept_that_anonymous_access_might_be_rate_limited": True}


@pytest.fixture
def case(tmp_path):
    """Runs a coroutine with a function that calls a tool of a new server."""

    def run(use):
        asyncio.run(with_server(tmp_path, use))

    return run


@asynccontextmanager
async def server(home):
    env = {**os.environ, "HOME": str(home)}
    params = StdioServerParameters(command=SERVER, args=ARGS, env=env)
    async with stdio_client(params) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


async def with_server(home, use):
    async with server(home) as session:
        names = {tool.name.removeprefix("contree_"): tool.name for tool in (await session.list_tools()).tools}

        async def tool(name, **arguments):
            result = await session.call_tool(names[name], arguments)
            text = "".join(part.text for part in result.content if part.type == "text")
            assert not result.isError, f"{name}: {text}"
            value = result.structuredContent or json.loads(text)
            return value["result"] if list(value) == ["result"] else value

        await use(tool)


async def image_of(tool):
    return (await tool("get_image", image="tag:busybox:latest"))["uuid"]


def test_whoami_and_images(case):
    async def use(tool):
        assert await tool("whoami")
        tags = [image["tag"] for image in (await tool("list_images", tagged=True))["images"]]
        assert "busybox:latest" in tags and "common/base:1" in tags
        assert await image_of(tool)

    case(use)


def test_run_and_branch(case):
    async def use(tool):
        image = await image_of(tool)
        kept = await tool("run", command="echo kept > /kept; echo done", image=image, disposable=False, timeout=120)
        assert kept["stdout"] == "done\n" and kept["exit_code"] == 0
        child = kept["result_image_uuid"]
        read = await tool("run", command="cat /kept", image=child, timeout=120)
        assert read["stdout"] == "kept\n"
        assert (await tool("read_file", image=child, path="/kept"))["content"] == "kept\n"

    case(use)


def test_in_parallel(case):
    async def use(tool):
        image = await image_of(tool)
        started = [
            await tool("run", command=f"echo {n}", image=image, wait=False, timeout=120) for n in ("a", "b")
        ]
        ids = [one["operation_id"] for one in started]
        assert await tool("wait_operations", operation_ids=ids, timeout=240)
        assert (await tool("get_operation", operation_id=ids[0]))["stdout"] == "a\n"
        listed = {one["uuid"] for one in (await tool("list_operations", limit=100))["operations"]}
        assert set(ids) <= listed

    case(use)


def test_cancel(case):
    async def use(tool):
        image = await image_of(tool)
        started = await tool("run", command="sleep 60", image=image, wait=False, timeout=120)
        assert (await tool("cancel_operation", operation_id=started["operation_id"]))["cancelled"]

    case(use)


def test_files(case, tmp_path):
    async def use(tool):
        image = await image_of(tool)
        uploaded = await tool("upload", content="uploaded\n")
        files = {"/data": uploaded["uuid"]}
        run = await tool("run", command="cat /data; echo out > /out", image=image, files=files, disposable=False, timeout=120)
        assert run["stdout"] == "uploaded\n"
        target = tmp_path / "down" / "out"
        await tool("download", image=run["result_image_uuid"], path="/out", destination=str(target))
        assert target.read_text() == "out\n"
        listed = await tool("list_files", image=image, path="/etc")
        assert "passwd" in {entry["name"] for entry in listed["files"]}
        found = await tool("grep", image=image, pattern="^root", path="/etc/passwd")
        assert found["matches"][0]["line_number"] == 1

    case(use)


def test_rsync(case, tmp_path):
    async def use(tool):
        source = tmp_path / "project"
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "file").write_text("synced\n")
        state = await tool("rsync", source=str(source), destination="/app")
        image = await image_of(tool)
        run = await tool("run", command="cat /app/deep/file", image=image, directory_state_id=state, timeout=120)
        assert run["stdout"] == "synced\n"

    case(use)


def test_tags_and_import(case):
    async def use(tool):
        image = await image_of(tool)
        name = f"mcp/{uuid.uuid4().hex[:8]}:1"
        await tool("set_tag", image_uuid=image, tag=name)
        assert (await tool("get_image", image=f"tag:{name}"))["uuid"] == image
        imported = await tool("import_image", registry_url="docker://docker.io/library/mcp:1", tag=f"{name}-imported", **ANONYMOUS)
        assert imported

    case(use)
