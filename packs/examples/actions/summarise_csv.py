"""Summarise the numeric columns of a CSV file, overall and per group."""

import csv
import json
import math
import os
import sys


def fail(message):
    sys.exit(f"summarise_csv: {message}")  # one line on stderr, exit status 1


def number(text):
    """The number that text stands for, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None  # JSON knows neither NaN nor infinity


def summary(rows, columns, decimals):
    """Statistics of each column over the rows that have a value in it."""
    result = {"rows": len(rows), "columns": {}}
    for column in columns:
        values = [number(row[column]) for row in rows if row[column]]
        if None in values:
            fail(f'column "{column}" holds values that are not numbers')
        if values:
            mean = round(math.fsum(values) / len(values), decimals)
            result["columns"][column] = {"min": min(values), "max": max(values), "mean": mean}
    return result


parameters = json.load(sys.stdin.buffer)
path = parameters["path"]
try:
    # join() leaves an absolute path alone; utf-8-sig drops the byte order mark that spreadsheets write.
    with open(os.path.join(os.environ["ATTUNE_PACK_DIR"], path), newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=parameters["delimiter"], restval="")
        rows = list(reader)
        header = reader.fieldnames or []
except (OSError, UnicodeDecodeError, csv.Error, TypeError) as error:
    fail(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
print(f"read {len(rows)} rows with the columns {', '.join(header)} from {path}", flush=True)

columns, group_by = parameters["columns"], parameters["group_by"]
for column in columns + [group_by] * bool(group_by):
    if column not in header:
        fail(f'no column "{column}" in {path} (it has {", ".join(header) or "none"})')
if not columns:
    columns = [c for c in header if c != group_by and rows and all(number(row[c] or "0") is not None for row in rows)]

groups = {}
for row in rows if group_by else []:
    groups.setdefault(row[group_by], []).append(row)

result = summary(rows, columns, parameters["decimals"])
result["groups"] = {name: summary(members, columns, parameters["decimals"]) for name, members in sorted(groups.items())}
for column, figures in result["columns"].items():
    print(f"  {column:<12} {figures['min']:>10g} … {figures['max']:<10g} mean {figures['mean']:g}")
for name, group in result["groups"].items():
    means = ", ".join(f"{column} {figures['mean']:g}" for column, figures in group["columns"].items())
    print(f"  {group_by} {name}: {group['rows']} rows, mean {means or '–'}")

print(json.dumps(result))
