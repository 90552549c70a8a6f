"""A tab of Chromium (fixture `endpoint`), driven by its DevTools protocol: what a page asks for, says and shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp


class Tab:
    """One tab of the browser, by the DevTools protocol; it remembers what was asked for and what was complained of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket, self._session, self._calls = socket, session, 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; its result."""
        self._calls += 1
        said = {"id": self._calls, "method": method, "params": params, "sessionId": self._session}
        await self._socket.send_str(json.dumps(said))
        return await self._hear(lambda message: message.get("id") == self._calls)

    async def open(self, url: str) -> None:
        """Go there and wait until all of it is there."""
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(60):
            while not await self.value(f"document.readyState == 'complete' && location.href == {json.dumps(url)}"):
                await asyncio.sleep(0.02)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression is on the page; None where it is undefined."""
        said = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return said["result"].get("value")

    async def _hear(self, awaited: Any) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                message = await self._socket.receive_json()
                self._note(message)
                if awaited(message):
                    assert "error" not in message, message
                    return dict(message.get("result", {}))

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params))


@asynccontextmanager
async def opened(endpoint: str, width: int, scheme: str) -> AsyncIterator[Tab]:
    """A tab as wide as a device, that prefers light or dark."""
    async with aiohttp.ClientSession() as client, client.ws_connect(endpoint, max_msg_size=0) as socket:
        browser = Tab(socket, "")
        await socket.send_str(json.dumps({"id": 0, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
        target = (await browser._hear(lambda message: message.get("id") == 0))["targetId"]
        attach = {"targetId": target, "flatten": True}
        await socket.send_str(json.dumps({"id": 0, "method": "Target.attachToTarget", "params": attach}))
        tab = Tab(socket, (await browser._hear(lambda message: message.get("id") == 0))["sessionId"])
        for domain in ("Page", "Network", "Log", "Runtime"):
            await tab.call(f"{domain}.enable")
        phone = width < 600
        await tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        yield tab
        await tab.call("Page.close")
