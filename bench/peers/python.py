"""The same with Python: requests (one session; 32 threads with one each), aiohttp, or pycurl.

    python3 bench/peers/python.py LIBRARY sequential|together BASE_URL CA_FILE SECONDS

Debian: python3-requests, python3-aiohttp, python3-pycurl.
"""
import asyncio
import io
import itertools
import json
import ssl
import sys
import threading
import time

library, how, base, ca_file, seconds = sys.argv[1:6]
HEADERS = {"Authorization": 'DREAM apikey="abc"', "Accept": "application/json"}
AT_ONCE = 32 if how == "together" else 1


def url(n):
    return f"{base}/api/v9/invoices/{n}"


def requests_runner():
    import requests

    def session():
        one = requests.Session()
        one.verify = ca_file
        one.trust_env = False  # looks into the environment for every call otherwise
        one.headers.update(HEADERS)
        return one

    sessions = [session() for _ in range(AT_ONCE)]

    def run(till):
        counts = [0] * AT_ONCE

        def one(i):
            while time.monotonic() < till:
                counts[i] += 1
                answer = sessions[i].get(url(counts[i]))
                assert answer.status_code == 200 and answer.json()["id"]

        threads = [threading.Thread(target=one, args=(i,)) for i in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    return run


def pycurl_runner():
    import pycurl

    if AT_ONCE > 1:
        sys.exit("pycurl is measured sequentially only")
    easy = pycurl.Curl()
    easy.setopt(pycurl.CAINFO, ca_file)
    easy.setopt(pycurl.HTTPHEADER, [f"{k}: {v}" for k, v in HEADERS.items()])

    def run(till):
        for n in itertools.count():
            if time.monotonic() >= till:
                return n
            body = io.BytesIO()
            easy.setopt(pycurl.URL, url(n + 1))
            easy.setopt(pycurl.WRITEDATA, body)
            easy.perform()
            assert easy.getinfo(pycurl.RESPONSE_CODE) == 200
            assert json.loads(body.getvalue())["id"]

    return run


def aiohttp_runner():
    import aiohttp

    loop = asyncio.new_event_loop()

    async def session():
        context = ssl.create_default_context(cafile=ca_file)
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=context)
        return aiohttp.ClientSession(connector=connector, headers=HEADERS)

    client = loop.run_until_complete(session())

    async def one(counter, till):
        while time.monotonic() < till:
            async with client.get(url(next(counter))) as answer:
                assert answer.status == 200 and (await answer.json())["id"]

    async def all_of_them(till):
        counter = itertools.count(1)
        await asyncio.gather(*(one(counter, till) for _ in range(AT_ONCE)))
        return next(counter) - 1

    return lambda till: loop.run_until_complete(all_of_them(till))


run = {"requests": requests_runner, "aiohttp": aiohttp_runner, "pycurl": pycurl_runner}[library]()
run(time.monotonic() + 0.3)
cpu, start = time.process_time(), time.monotonic()
n = run(start + float(seconds))
print(f"{n / (time.monotonic() - start):.0f} {(time.process_time() - cpu) * 1e6 / n:.2f}")
import os

sys.stdout.flush()
os._exit(0)
