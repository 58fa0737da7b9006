"""Process cli: the verbs of `kn hasgpu profile`. Imports nothing heavy: `--help` answers within 100 ms."""

from __future__ import annotations

from pathlib import Path

import click

from .options import Figure, OutputFile

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OUTPUT = OutputFile()
_PROFILE = click.option("--profile", "profile_path", type=_FILE, required=True, help="A LatencyProfile as YAML.")
_PRODUCT = click.option("--gpu-product", metavar="NAME", help="GPU product as NVML names it.")
_GATE = click.Choice(["launch", "gpu-time"])
_STATIC = click.option("--static", type=_FILE, help="CSV of operator counts and MACs by model, for few or no cells.")
_ONNX = click.option("--onnx", type=_FILE, help="ONNX file to count operators and MACs of, instead of --static.")


@click.group(subcommand_metavar="COMMAND")
def profile() -> None:
    """Latency profiles: plan, measure, fit, predict, judge."""


@profile.command()
@click.option("--profile", "profile_path", type=_FILE, help="What is measured already; a first plan without it.")
@click.option("--cells", "most", default=25, show_default=True, type=click.IntRange(min=1), help="Cells at most.")
@click.option("--adaptive", is_flag=True, help="Next the cells that narrow the interval most for each GPU second.")
@click.option(
    "--until",
    "target_percent",
    default=10.0,
    show_default=True,
    type=Figure(0.0),
    help="Adaptive: stop at this mean half-width.",
)
@_PRODUCT
@click.option("--output", type=_OUTPUT, default="-", help="CSV file; standard output by default.")
def plan(
    profile_path: Path | None,
    most: int,
    adaptive: bool,
    target_percent: float,
    gpu_product: str | None,
    output: Path,
) -> None:
    """Which cells to measure next: CSV with batch,sm,quota and the price of each in GPU seconds."""
    from .profile_plan import print_plan
    from .profile_words import telling

    with telling():
        print_plan(profile_path, most, target_percent if adaptive else None, gpu_product, output)


@profile.command()
@click.argument("service")
@click.option("--namespace", "-n", default="default", show_default=True, help="Of the service.")
@click.option("--output", type=_OUTPUT, required=True, help="Where the LatencyProfile goes.")
@click.option(
    "--plan", "plan_path", type=_FILE, help="CSV with batch,sm,quota; by default SM shares at the whole quota."
)
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1, 64), help="Batches of the default plan.")
@click.option("--path", default="/", show_default=True, help="Of a request; {batch} in it is replaced.")
@click.option("--inferences", default=15, show_default=True, type=click.IntRange(3), help="Of each cell.")
@click.option(
    "--timeout", "timeout_s", default=300.0, show_default=True, type=Figure(0.0), help="Seconds to wait for a slice."
)
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; its current one by default.")
def run(
    service: str,
    namespace: str,
    output: Path,
    plan_path: Path | None,
    batches: tuple[int, ...],
    path: str,
    inferences: int,
    timeout_s: float,
    context: str | None,
) -> None:
    """Measure SERVICE on a GPU of the cluster: copies of it get one slice after the other, and leave again."""
    from .command import connected
    from .profile_run import RunRequest, run_plan
    from .profile_words import telling

    with telling():
        request = RunRequest(
            namespace=namespace,
            service=service,
            plan=plan_path,
            batches=batches or (1,),
            path=path,
            inferences=inferences,
            timeout_s=timeout_s,
        )
        run_plan(connected(context), request, output)


@profile.command()
@click.option("--cells", type=_FILE, required=True, help="CSV with model,batch,sm,quota,latency_ms.")
@click.option("--output", type=_OUTPUT, required=True, help="Where the LatencyProfile goes.")
@click.option("--gate", type=_GATE, default="launch", show_default=True, help="Gate in force while measuring.")
@click.option("--window", default="40ms", show_default=True, help="Scheduling window while measuring.")
@click.option("--gpu-product", metavar="NAME", default="Tesla-V100-SXM2-16GB", show_default=True)
@click.option("--memory", metavar="QUANTITY", help="Device memory that one pod needs.")
@click.option("--model", metavar="NAME", help="Which model, where the CSV has several.")
@_STATIC
@_ONNX
def fit(
    cells: Path,
    output: Path,
    gate: str,
    window: str,
    gpu_product: str,
    memory: str | None,
    model: str | None,
    static: Path | None,
    onnx: Path | None,
) -> None:
    """Make a LatencyProfile of measured cells: any number of them, even none."""
    from .profile_fit import FitRequest, write_profile
    from .profile_words import telling

    with telling():
        request = FitRequest(
            cells=cells,
            gate="launch" if gate == "launch" else "gpu-time",
            window=window,
            gpu_product=gpu_product,
            memory=memory,
            model=model,
            static=static,
            onnx=onnx,
        )
        write_profile(request, output)


@profile.command()
@_PROFILE
@click.option("--cells", type=_FILE, required=True, help="CSV with batch,sm,quota.")
@_PRODUCT
@click.option("--gate", type=_GATE, help="Gate to predict under; by default the one of the measurement.")
def predict(profile_path: Path, cells: Path, gpu_product: str | None, gate: str | None) -> None:
    """Add latency_ms,low_ms,high_ms (a 90 % interval) to each cell: CSV on standard output."""
    from .profile_predict import print_predictions
    from .profile_words import telling

    with telling():
        print_predictions(profile_path, cells, gpu_product, gate)


@profile.command()
@click.option("--data", type=_FOLDER, required=True, help="Folder with latency.csv[.gz] and model_static.csv[.gz].")
@click.option("--aside", type=_FOLDER, help="A folder like it with models that the reference has not seen.")
@click.option("--only", multiple=True, metavar="PROTOCOL", help="random, sm, quota, families, aside or forecast.")
@click.option("--output", type=_OUTPUT, help="The scores as JSON.")
def evaluate(data: Path, aside: Path | None, only: tuple[str, ...], output: Path | None) -> None:
    """Score the predictor by fixed protocols beside the published and the best known figures."""
    from .profile_evaluate import print_scores
    from .profile_words import telling

    with telling():
        print_scores(data, aside, only, output)


@profile.command()
@_PROFILE
@_PRODUCT
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(1, 1024), help="Batches to show; else the measured."
)
@click.option("--gate", type=_GATE, help="Gate to show; by default the one of the measurement.")
def show(profile_path: Path, gpu_product: str | None, batches: tuple[int, ...], gate: str | None) -> None:
    """Draw latency over SM share and time quota, one picture a batch; measured cells are marked."""
    from .profile_show import draw
    from .profile_words import telling

    with telling():
        draw(profile_path, gpu_product, batches, gate)
