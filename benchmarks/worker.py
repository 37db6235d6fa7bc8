"""Saves and loads JSON files as Python programs do, and tells how many seconds each took.

usage: worker.py DIRECTORY power_loss|process_crash

Reads lines "put KEY BYTES" and "get KEY 0" and answers each with a line. With power_loss it syncs the file and its
directory, which the usual json.dump and os.replace does not.
"""
import json
import os
import sys
import time

directory, durable = sys.argv[1], sys.argv[2] == "power_loss"
handle = os.open(directory, os.O_RDONLY)


def put(path, value):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(value, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(path + ".tmp", path)
    if durable:
        os.fsync(handle)


def get(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


for line in sys.stdin:
    what, key, size = line.split()
    arguments = [os.path.join(directory, key)]
    if what == "put":
        arguments.append({"words": "x" * (int(size) - len('{"words": ""}'))})
    start = time.perf_counter()
    {"put": put, "get": get}[what](*arguments)
    print(time.perf_counter() - start, flush=True)
