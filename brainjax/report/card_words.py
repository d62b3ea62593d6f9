"""What the model cards of all kinds of models say alike."""

from typing import Any


def shared(name: str, config: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The fields of a card's text that do not depend on the kind of model.

    Args:
        name: of the release folder.
        config: the training config as a plain dict.
        facts: what was gathered for the release.

    Returns:
        By the field's name. `also`, `limits` and `beginning` are empty where there is nothing to say; the first two
        begin with what parts them from the text before.
    """
    told = ("parameters", "storage", "exported", "protocol", "dataset", "citation", "licence")
    rights = f"{facts['citation']} Licence of the data: {facts['licence']}. The weights are derived from these data and carry the same licence."
    init = config["train"].get("init")
    return {
        "name": name,
        "model": config["model"]["name"],
        "classes": ", ".join(facts["classes"]),
        "channels": ", ".join(facts["channels"]),
        "beginning": f"Begun with the weights of `{init}`, then " if init else "",
        "steps": facts["step"],
        "batch_size": config["train"]["batch_size"],
        "loss": config["loss"]["name"],
        "optimizer": config["optimizer"]["name"],
        "n_train": len(facts["trained_on"]),
        "also": f" {facts['also']}" if facts.get("also") else "",
        "rights": f"{rights} {facts.get('begun_with', '')}".strip(),
        "limits": f"\n\n{facts['limits']}" if facts.get("limits") else "",
        **{key: facts[key] for key in told},
    }


def number(value: float | None) -> str:
    """A score with four decimals; '-' for None."""
    return "-" if value is None else f"{value:.4f}"
