"""`calibrate`: set the thresholds of abstention of the index."""

from __future__ import annotations

from dataclasses import asdict

from mcp_server.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    open_service,
    open_setup,
    print_json,
    say,
)


def calibrate(
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the index ask itself questions, and set from them when a question is not answered.

    `codecairn serve` does so by itself when more than 5 % of the index changed. An index with fewer than 50 sentences
    to ask keeps the thresholds that ship with the program. Example: `codecairn calibrate --root ~/src/project`
    """
    from mcp_server.answering.calibration import describe_drift

    with open_service(open_setup(root, config, data)) as service:
        found = service.calibrate(force=True)
    if as_json:
        print_json({name: asdict(made) if made else None for name, made in found})
        return
    for name, made in found:
        if made is None:
            say(f"{name}: too few sentences to ask; the thresholds that ship with the program stay.")
            continue
        print(f"{name}: generation {made.generation}, {made.questions} questions, drift {made.drift:.2f}")
        if alarm := describe_drift(made):
            say(alarm)
        for side, limits in (("with vectors", made.vectors), ("text only", made.text)):
            for bucket, own in limits.items():
                print(f"  {side:13} {bucket:8} abstain below {own.abstain:6.2f}, warn below {own.warn:6.2f}")
    if not found:
        say("Nothing is indexed yet. Run `codecairn index`.")
