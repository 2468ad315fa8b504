"""Which version a label names after a push, a promotion or a rollback, and what that means.

`stable` is what servers answer with, `canary` is what they answer with when asked for it. All
functions here turn one ledger into another, or into a sentence; none touches a disk.
"""

from serving.ledger import Label, Ledger, Version

__all__ = [
    "after_loss",
    "after_promotion",
    "after_push",
    "beyond_retention",
    "folder_caution",
    "rollback_target",
    "what_servers_do",
    "without_label",
]


def after_push(ledger: Ledger, number: int, push_as: Label) -> Ledger:
    """Moves the label that a push asked for.

    The first version becomes stable whatever was asked for, since there is nothing else to
    serve. A pin keeps `stable` where it is. No push moves a label to a lower number: one that
    took long must not undo a later one that was quick.
    """
    labels = dict(ledger.labels)
    stable = labels.get("stable")
    if stable is None:
        labels["stable"] = number
    elif push_as == "canary":
        if number > max(stable, labels.get("canary", 0)):
            labels["canary"] = number
    elif number > stable and not ledger.pinned:
        labels["stable"] = number
    return ledger.with_labels(_without_overtaken_canary(labels))


def after_promotion(ledger: Ledger, number: int, label: Label, *, pinned: bool) -> Ledger:
    """Points a label at a version; promoting to stable sets or releases the pin."""
    labels = dict(ledger.labels)
    labels[label] = number
    if label == "stable":
        if labels.get("canary") == number:
            del labels["canary"]
        return ledger.with_labels(labels, pinned=pinned)
    return ledger.with_labels(labels)


def without_label(ledger: Ledger, label: Label) -> Ledger:
    """Takes a label away."""
    return ledger.with_labels(
        {key: number for key, number in ledger.labels.items() if key != label}
    )


def rollback_target(ledger: Ledger) -> Version | None:
    """The version to go back to: the newest one before stable that has been stable itself.

    Where the ledger was rebuilt and no longer knows that, the newest one before stable counts.
    """
    current = ledger.labels.get("stable", 0)
    earlier = [entry for entry in ledger.available if entry.version < current]
    proven = [entry for entry in earlier if entry.stable_at is not None]
    unknown = [entry for entry in earlier if entry.push_as != "canary"]
    return next(iter(reversed(proven or unknown)), None)


def after_loss(ledger: Ledger) -> Ledger:
    """Moves labels off versions that can't be served: stable to what a rollback would choose."""
    available = {entry.version for entry in ledger.available}
    labels = {label: number for label, number in ledger.labels.items() if number in available}
    if "stable" not in labels:
        target = rollback_target(ledger)
        if target is None and available:
            candidates = available - {labels.get("canary", 0)} or available
            target = ledger.get(max(candidates))
        if target is not None:
            labels["stable"] = target.version
    if labels.get("canary") == labels.get("stable"):
        labels.pop("canary", None)
    return ledger if labels == ledger.labels else ledger.with_labels(labels)


def beyond_retention(ledger: Ledger) -> list[Version]:
    """The available versions that may go: not among the newest N and named by no label.

    What a rollback would go back to stays too, unless only one version is to be kept: a canary
    or two would otherwise push it out.
    """
    keep = ledger.retention.keep
    target = rollback_target(ledger) if keep > 1 else None
    return [
        entry
        for entry in ledger.available[:-keep]
        if not ledger.names_of(entry.version) and entry is not target
    ]


def what_servers_do(before: Ledger, after: Ledger) -> str:
    """One sentence on what serving does next."""
    old, new = before.labels.get("stable"), after.labels.get("stable")
    if new is None:
        return "Servers that follow the ledger have no version to serve."
    parts = []
    if old is None:
        parts.append(f"Servers that follow the ledger load version {new} and answer with it")
    elif old != new:
        parts.append(
            f"Servers that follow the ledger load version {new} and, once it is up, "
            f"answer with it instead of {old}"
        )
    parts += _about_canary(before, after)
    if not parts:
        parts.append(f"Nothing changes for servers: stable stays at version {new}")
    if after.pinned:
        parts.append("stable is pinned, so pushes leave it there")
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def folder_caution(ledger: Ledger) -> str:
    """What a server does that watches the folder only; empty if it does the same."""
    newest = ledger.available[-1].version if ledger.available else None
    stable = ledger.labels.get("stable")
    if newest is None or newest == stable:
        return ""
    return (
        f"A server that watches the folder and not the ledger serves the highest number, {newest}."
    )


def _about_canary(before: Ledger, after: Ledger) -> list[str]:
    old, new = before.labels.get("canary"), after.labels.get("canary")
    if old == new:
        return []
    if new is None:
        promoted = old == after.labels.get("stable")
        return [] if promoted else [f"version {old} is served no longer as canary"]
    stable = after.labels["stable"]
    return [
        f"version {new} is loaded too and answers calls for the label canary",
        f"all other calls still go to stable, version {stable}",
    ]


def _without_overtaken_canary(labels: dict[Label, int]) -> dict[Label, int]:
    if labels.get("canary", 0) <= labels["stable"]:
        labels.pop("canary", None)
    return labels
