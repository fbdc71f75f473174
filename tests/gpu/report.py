"""The verdict of the check, and its report as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from xaibench import registry

JUDGING = ("machine", "maps", "scores", "runs")  # steps without which agreement is not known
SHOWN = 8  # findings in the last line
BAD = ("differs", "raised")


def entries(steps: dict) -> Iterator[tuple[str, str, str, str, dict]]:
    """Every comparison: the step, what it compares, the method, the protocol, the entry."""
    for method, by_family in results(steps, "maps").items():
        for family, entry in by_family.items():
            yield "maps", f"{method} on {family}", method, "", entry
    for protocol, entry in results(steps, "scores").items():
        yield "scores", f"{protocol} of the same maps", "", protocol, entry
    for protocol, by_method in results(steps, "runs").items():
        for method, entry in by_method.items():
            yield "runs", f"{protocol} of {method or 'the model'}, whole run", method, protocol, entry


def results(steps: dict, name: str) -> dict:
    """What a step found; nothing, where it did not come to its end."""
    return steps.get(name, {}).get("result", {})


def verdict(steps: dict) -> dict:
    """What is wrong, and for every method and protocol whether it was compared, or why not."""
    wrong = [f"step {n}: {s['why']}" for n, s in steps.items() if s["status"] == "raised"]
    left_out = [n for n in JUDGING if steps.get(n, {}).get("status") == "left out"]
    wrong += [f"step {n} was left out: {steps[n]['why']}" for n in left_out]
    if not results(steps, "machine").get("float32_exact", True):
        wrong.append(f"float32 errs by {results(steps, 'machine')['float32_error']:.1e}: TF32 was not off")
    if results(steps, "machine").get("tf32_error") and not results(steps, "machine")["tf32_is_on"]:
        wrong.append(f"tf32 errs by {results(steps, 'machine')['tf32_error']:.1e} only: TF32 was not on")
    undone = {f"step {n}": steps.get(n, {}).get("status", "not reached") for n in ("maps", "scores", "runs")}
    undone = {name: status for name, status in undone.items() if status != "done"}
    covered = {
        f"{kind}s": {name: {"compared": [], "not_compared": dict(undone)} for name in registry.names(kind)}
        for kind in ("method", "protocol")
    }
    for _, what, method, protocol, entry in entries(steps):
        if entry["verdict"] in BAD:
            wrong.append(f"{what}: {told(entry)}")
        for kind, name in (("methods", method), ("protocols", protocol)):
            if name:
                place = covered[kind][name]
                if entry["verdict"] in ("not tried", "raised"):
                    place["not_compared"][what] = entry["why"]
                else:
                    place["compared"].append(what)
    return {"passed": not wrong, "wrong": wrong} | covered


def in_short(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['without a word'])[0][:200]}"


def told(entry: dict) -> str:
    """An entry in words."""
    if "difference" not in entry:
        return f"{entry['verdict']}: {entry['why']}"
    exact = entry.get("float64")
    again = "" if exact is None else f", in float64 {exact:.1e}" if isinstance(exact, float) else f", float64: {exact}"
    moved = [k for k in ("top_pixel_moves", "rank_moves", "predictions_differ") if entry.get(k)]
    moves = "".join(f", {k.replace('_', ' ')}: {entry[k]}" for k in moved)
    return f"{entry['verdict']}, {entry['difference']:.1e} in float32{again}{moves}"


def write(out: Path, report: dict) -> str:
    """Writes report.json and report.txt; gives the text."""
    text = "\n".join(lines(report)) + "\n"
    (out / "report.json").write_text(json.dumps(report, indent=1))
    (out / "report.txt").write_text(text)
    return text.rstrip("\n")


def lines(report: dict) -> Iterator[str]:
    """One line per finding; the last says PASS or FAIL and why."""
    steps = report["steps"]
    if machine := results(steps, "machine"):
        cuda = f", CUDA {machine['cuda']}, cuDNN {machine['cudnn']}" if machine["cuda"] else ""
        yield f"device: {machine['device']}{cuda}; Python {machine['python']}, xaibench {machine['xaibench']}"
        yield "packages: " + ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
        tf32 = f", in TF32 {machine['tf32_error']:.1e}" if machine["tf32_error"] else ""
        yield f"error in float32: {machine['float32_error']:.1e}{tf32}"
    for name, step in steps.items():
        yield f"step {name}: {step['status']}, {step['seconds']:.1f} s" + (f", {step['why']}" if "why" in step else "")
    yield from agreement(steps, report)
    if job := results(steps, "main"):
        yield f"main job: {job['seconds']} s, exit status {job['exit_status']}: {job['command']}"
        yield from ("    " + line for line in job["board"].splitlines() if line.strip())
    for name in steps:
        if name.startswith("speed") and (speed := results(steps, name)):
            yield (
                f"{name}: {speed['job']}: {speed['seconds']:.1f} s, "
                f"{speed['seconds_per_image']:.3f} s an image against {speed['bare_seconds_per_image']:.3f} of bare "
                f"passes: ratio {speed['ratio_to_bare']:.2f}"
            )
            yield (
                f"    {speed['forward_equivalents']:.0f} forward-equivalents an image, {speed['forwards']:.0f} "
                f"forwards and {speed['gradients']:.0f} gradients; "
                f"batch {speed['batch_size']}, chunk {speed['chunk_size']}"
            )
            yield "    bare images/s: " + ", ".join(f"{k} {v}" for k, v in speed["bare_images_per_second"].items())
    yield f"total: {report['seconds']} s"
    if report["passed"]:
        done = [name for name, step in steps.items() if step["status"] == "done"]
        yield f"PASS: nothing that was compared differs; steps done: {', '.join(done)}"
    else:
        more = len(report["wrong"]) - SHOWN
        words = [*report["wrong"][:SHOWN], *([f"and {more} more, above"] if more > 0 else [])]
        yield f"FAIL, {len(report['wrong'])} findings: {'; '.join(words)}"


def agreement(steps: dict, report: dict) -> Iterator[str]:
    """Counts, everything beyond the tolerance, and what was not compared."""
    for step in ("maps", "scores", "runs"):
        found = [(what, entry) for s, what, _, _, entry in entries(steps) if s == step]
        if not found:
            continue
        counts = {}
        for _, entry in found:
            counts[entry["verdict"]] = counts.get(entry["verdict"], 0) + 1
        yield f"{step}: {len(found)} comparisons, " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        yield from (f"    {what}: {told(e)}" for what, e in found if e["verdict"] in ("rounding", *BAD))
    for kind in ("methods", "protocols"):
        never: dict[str, list[str]] = {}
        for name, place in report[kind].items():
            if not place["compared"]:
                reasons = {
                    why if not what.startswith("step") else f"{what}: {why}"
                    for what, why in place["not_compared"].items()
                }
                never.setdefault("; ".join(sorted(reasons)), []).append(name)
        without = sum(map(len, never.values()))
        yield f"{kind}: {len(report[kind]) - without} of {len(report[kind])} compared"
        yield from (f"    not compared ({why}): {', '.join(names)}" for why, names in never.items())
