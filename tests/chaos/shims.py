"""A slow disk and a clock that is set, for a process that is not ours: a library that is loaded before its own.

The library is compiled here, where there is a C compiler. It reads from a small shared file how long each fsync takes
and by how much the wall clock is off, so that both can change while the process runs, and over its restarts.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Self

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile double *shared(void) {  /* seconds for each fsync, seconds that the clock is off */
    static const double none[2] = {0, 0};
    static const volatile double *found = 0;
    if (!found) {
        const char *path = getenv("SHIM_FILE");
        int file = path ? open(path, O_RDONLY) : -1;
        void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof none, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0) close(file);
        found = map == MAP_FAILED ? none : map;
    }
    return found;
}

static void nap(void) {
    double seconds = shared()[0];
    if (seconds > 0) usleep((useconds_t)(seconds * 1e6));
}

int fsync(int file) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    nap();
    return real(file);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    nap();
    return real(file);
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        long long at = now->tv_sec * 1000000000LL + now->tv_nsec + (long long)(shared()[1] * 1e9);
        now->tv_sec = at / 1000000000LL;
        now->tv_nsec = at % 1000000000LL;
    }
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at)) return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (kept) *kept = at.tv_sec;
    return at.tv_sec;
}
"""
COMPILERS = ("gcc", "cc", "clang")


def compiler() -> str | None:
    """The C compiler of this machine."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


class Shim:
    """The library in `folder`, and the file that rules it."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        file.write_bytes(bytes(16))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 16)
        self.environ = {"LD_PRELOAD": str(library), "SHIM_FILE": str(file)}

    @classmethod
    def build(cls, folder: Path) -> Self | None:
        """Compile it into `folder`; None where there is no compiler, or it cannot."""
        if (program := compiler()) is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        source, library = folder / "shim.c", folder / "shim.so"
        source.write_text(SOURCE)
        command = [program, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True)
        return cls(library, folder / "shim") if done.returncode == 0 else None

    def fsync(self, seconds: float) -> None:
        """How much longer each fsync takes from now on."""
        struct.pack_into("d", self._shared, 0, seconds)

    def clock(self, offset: float) -> None:
        """By how many seconds the wall clock is ahead from now on."""
        struct.pack_into("d", self._shared, 8, offset)
