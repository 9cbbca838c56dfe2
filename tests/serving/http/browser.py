"""A browser that does as it is told, over the pipe of its debugging protocol: nothing but Chromium is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One tab."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest, self._number = write, read, b"", 0
        target = self._do("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = self._do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _do(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser has gone"
            self._rest += piece
        one, _, self._rest = self._rest.partition(b"\0")
        return json.loads(one)

    def go(self, address: str) -> None:
        """Open the address, and wait until its document is there."""
        self.run("window.before = true")
        self._do("Page.navigate", url=address)
        self.until("window.before === undefined && document.readyState === 'complete'")

    def before(self, script: str) -> None:
        """Run this in every document before anything of its own."""
        self._do("Page.enable")
        self._do("Page.addScriptToEvaluateOnNewDocument", source=script)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Make the window so large, and light or dark."""
        self._do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )  # fmt: skip
        value = "dark" if dark else "light"
        self._do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def run(self, script: str) -> Any:
        """The value of an expression."""
        found = self._do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press the keys, one after the other."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            self._do("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self._do("Input.dispatchKeyEvent", type="keyUp", key=key)

    def text(self, id_: str) -> str:
        """What an element says; nothing where it is hidden."""
        return str(self.run(f"(one => one.checkVisibility() ? one.innerText : '')(document.getElementById('{id_}'))"))

    def until(self, script: str, wanted: Any = True, seconds: float = 120) -> None:
        """Wait for the expression to have this value."""
        deadline = time.monotonic() + seconds
        while (found := self.run(script)) != wanted:
            assert time.monotonic() < deadline, f"{script} is {found!r}, not {wanted!r}"
            time.sleep(0.03)

    def picture(self, path: Path) -> None:
        """Keep what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._do("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def open_page(profile: Path) -> Iterator[Page]:
    """A browser with one tab, until the block ends. It reaches nothing but this machine."""
    (child_read, write), (read, child_write) = os.pipe(), os.pipe()
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
               "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
               f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
    # The browser reads commands from descriptor 3 and writes to 4.
    shell = [
        "bash",
        "-c",
        f'exec "$@" 3<&{child_read} 4>&{child_write}',
        "bash",
        *command,
    ]  # sh may know descriptors of one digit alone
    with subprocess.Popen(shell, pass_fds=(child_read, child_write), stderr=subprocess.DEVNULL) as process:
        os.close(child_read)
        os.close(child_write)
        try:
            yield Page(write, read)
        finally:
            process.terminate()
            process.wait(120)
            os.close(write)
            os.close(read)


@contextlib.contextmanager
def served(application: Any) -> Iterator[str]:
    """The application on a port of its own, in a thread; gives its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(120)
