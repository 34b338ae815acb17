# Compiles Python's own library, the packages beside it and the folders that are named, into the folder of -X pycache_prefix.
# Run by attune with -I -S -B: nothing but Python's own code is imported, whatever the packages bring along.
import importlib.util
import os
import site
import sys

# Older ones look for compiled modules beside their sources only.
if sys.version_info < (3, 8):
    sys.exit(0)

import py_compile

# Nobody imports these in an action, and they are a third of the library.
LEFT_OUT = {"__pycache__", "idle_test", "idlelib", "lib2to3", "test", "tests", "turtledemo"}

# By the source's content (PEP 552): images that share a cache may have other files of the same name, size and time.
CHECKED = py_compile.PycInvalidationMode.CHECKED_HASH


def compile_below(root):
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        sources = [name for name in files if name.endswith(".py")]
        if sources:
            place = os.path.dirname(importlib.util.cache_from_source(os.path.join(folder, sources[0])))
            os.makedirs(place, exist_ok=True)
        for name in sources:
            compile_one(folder, name)


def compile_one(folder, name):
    source = os.path.join(folder, name)
    target = importlib.util.cache_from_source(source)
    # reached by a second way, as packages below the library are
    if os.path.lexists(target):
        return
    beside = os.path.join(folder, "__pycache__", os.path.basename(target))
    if os.path.exists(beside):
        os.symlink(beside, target)
        return
    try:
        py_compile.compile(source, cfile=target, doraise=True, quiet=2, invalidation_mode=CHECKED)
    except Exception:
        # templates, files for other versions of Python: whoever imports them hears of it
        pass


# actions go first
os.nice(10)
for root in [os.path.dirname(os.__file__), *site.getsitepackages(), *sys.argv[1:]]:
    compile_below(os.path.abspath(root))
