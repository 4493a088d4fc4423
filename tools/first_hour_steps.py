"""What a new user types in the first hour, and why: the script of ``docs/first-hour.md``.

Played and written down by ``tools/record_first_hour.py``. Each line is typed into one shell on one
terminal; a line for a program that waits for input names what it waits for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PORT = 8765
INTERRUPT, END = "\x03", "\x04"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line that is typed into the shell.

    Attributes:
        text: what is typed.
        code: the exit code that it must end with.
        then: for a program that asks: what it must show, and what is typed then, in order.
    """

    text: str
    code: int = 0
    then: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of the hour: a heading, why, and the lines."""

    title: str
    why: str
    lines: tuple[Line, ...] = field(default=())


def lines(*typed: str | Line) -> tuple[Line, ...]:
    """Lines that end with 0 and ask nothing, and others as they are."""
    return tuple(Line(text=each) if isinstance(each, str) else each for each in typed)


_CHAT = f"""curl -s http://127.0.0.1:{PORT}/v1/chat/completions \\
  -H 'Content-Type: application/json' \\
  -d '{{"messages": [{{"role": "user", "content": "hello"}}]}}'; echo"""
_CLIENT = f"""python - <<'CODE'
from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:{PORT}/v1", api_key="none")
stream = client.completions.create(
    model="grok-mini", prompt="To be, or not to be", max_tokens=16, seed=1, stream=True)
print("".join(chunk.choices[0].text for chunk in stream))
CODE"""
_PYTHON = """python - <<'CODE'
import grokdist
print(grokdist.verify("model").files, "files are right")
engine = grokdist.open_model("model")
print(engine.score(engine.encode("To be, or not to be")).shape)
CODE"""
_POLICY = """cat > grokdist-policy.toml <<'POLICY'
[license]
allow = ["open-source"]
POLICY"""

PARTS = (
    Part(
        title="Install it, and run something",
        why="A fresh virtual environment beside a checkout; `[serve]` is for the server later"
        " on. The first `run` fetches grok-mini out of the package, checks it, builds a kernel for"
        " this processor and compiles the model.",
        lines=lines(
            "python3 -m venv venv && . venv/bin/activate",
            "pip install --quiet './grokdist[serve]'",
            'grokdist run --seed 1 --max-tokens 40 --stats "To be, or not to be"',
            'grokdist run --seed 1 --max-tokens 40 --stats "To be, or not to be"',
        ),
    ),
    Part(
        title="What have I got here?",
        why="The second start was faster. What is it that answered, what else is there, and is"
        " this machine all right?",
        lines=lines(
            "grokdist show grok-mini", "grokdist list", Line(text="grokdist doctor", code=-1)
        ),
    ),
    Part(
        title="Now the large one",
        why="The name typed wrong, then right, but not fetched; then what it would take.",
        lines=lines(
            Line(text="grokdist show grok1", code=13),
            Line(text='grokdist run --model grok-1 "To be"', code=1),
            "grokdist show grok-1",
            Line(text="grokdist fetch grok-1 --dry-run --dir grok-1", code=-1),
            "grokdist plan grok-1 --devices 8xH100",
        ),
    ),
    Part(
        title="May I use it, and how open is it?",
        why="The licence of another model, what Grok-1 lacks, and a rule for this folder.",
        lines=lines(
            "grokdist license show llama-3.1-405b | head -n 30",
            "grokdist openness grok-1 | head -n 30",
            _POLICY,
            "grokdist policy check grok-1 | tail -n 4",
            Line(text="grokdist fetch grok-2 --dir grok-2", code=12),
        ),
    ),
    Part(
        title="Fetch, prove, break, repair",
        why="With the small model, since the disk here would not hold the large one. `dd` writes"
        " one byte over.",
        lines=lines(
            "grokdist fetch grok-mini --dir model",
            "grokdist verify model",
            "printf x | dd of=model/ckpt-0/tensor00003_000 bs=1 seek=5000 conv=notrunc status=none",
            Line(text="grokdist verify model", code=11),
            Line(text='grokdist run --model model "To be"', code=11),
            "grokdist fetch grok-mini --dir model --repair",
            "grokdist verify model",
        ),
    ),
    Part(
        title="Play with it",
        why="A prompt loop. The long answer is interrupted, and the session goes on.",
        lines=lines(
            Line(
                text="grokdist run --model model --seed 7",
                then=(
                    (r"\n> ", "/max-tokens 12\n"),
                    (r"\n> ", "/logprobs 2\n"),
                    (r"\n> ", "Once more unto the breach\n"),
                    (r"\n> ", "/logprobs\n"),
                    (r"\n> ", "/max-tokens 240\n"),
                    (r"\n> ", "Friends, Romans, countrymen,\n"),
                    (r"countrymen,\r\n(?:.|\n){60}", INTERRUPT),
                    (r"\n> ", "/temprature 0\n"),
                    (r"\n> ", "/temperature 0\n"),
                    (r"\n> ", END),
                ),
            ),
        ),
    ),
    Part(
        title="Serve it",
        why="To OpenAI's client, which is installed for that. A base model holds no"
        " conversation, and says so.",
        lines=lines(
            "pip install --quiet openai",
            f"grokdist serve --model model --port {PORT} -q & server=$!",
            f"curl -s --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:{PORT}/health;"
            " echo",
            _CLIENT,
            _CHAT,
            "kill $server; wait $server",
        ),
    ),
    Part(
        title="From Python",
        why="The same checks stand before the model is opened.",
        lines=lines(_PYTHON),
    ),
    Part(
        title="For those who ask me about it",
        why="A page to read, a bill of materials, and a signature that others can check.",
        lines=lines(
            "grokdist report model --html report.html",
            "grokdist bom model --output model.cdx.json",
            Line(
                text="grokdist keys new me --type p256 --out me.pem",
                then=(("New password.*: ", "correct horse\n"), ("again: ", "correct horse\n")),
            ),
            Line(
                text="grokdist sign model --key me.pem",
                then=(("Password.*: ", "correct horse\n"),),
            ),
            "grokdist verify model --signature model/.grokdist/model.sig --key me.pub.pem",
        ),
    ),
    Part(
        title="All of it over a swarm, and clean up",
        why="`demo` tells the story from fetch to repair with a tracker and a seeder on this"
        " machine; only its end is shown. The name means two folders by now, so one must be named.",
        lines=lines(
            "grokdist demo 2>&1 | tail -n 4",
            Line(text="grokdist rm grok-mini --yes", code=2),
            "grokdist rm model --files --yes",
            "grokdist rm grok-mini --yes",
            "grokdist gc",
            "grokdist list | grep -A 1 mini",
        ),
    ),
)
