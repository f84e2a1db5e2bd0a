"""`python -m tests.demo`: from nothing to predictions on every edge site. See the package's docstring."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

from edgemodel_compressor.evaluate.confidence import wilson
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_operator.api import EdgeModel, SiteStatus
from tools import localcluster as cluster
from tools.localcluster import ClusterConfig, ClusterError, images, kind, providers
from tools.localcluster.system.progress import Progress, clock

from . import install, report, rollout, sample, scaling, served

MODELS = ("digits", "digits-pruned")
SCALED_MODEL = "digits"


def main() -> int:
    """Run the demo or take it down; 0 when all went well, 1 when something is off, with a sentence that says what."""
    arguments = _parser().parse_args()
    progress = Progress(sys.stdout)
    began = time.monotonic()
    try:
        if arguments.command == "down":
            providers.down(progress)
            return 0
        demo = Demo(progress, arguments.sites, arguments.keep_going)
        demo.run()
    except (ClusterError, RegistryError) as error:
        print(f"\nThe demo stopped after {clock(time.monotonic() - began)}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        return 130
    print(f"\nDone in {clock(time.monotonic() - began)}. The cluster is still up; look around with\n")
    print(demo.commands())
    return 0


class Demo:
    """One run, step by step; what later steps need is kept.

    Args:
        sites: of a new cluster; when absent, those of the one that is up, else two.
        keep_going: go on after a check that failed, and fail at the end.
    """

    def __init__(self, progress: Progress, sites: int | None, keep_going: bool) -> None:
        self._progress = progress
        self._keep_going = keep_going
        self._failures: list[str] = []
        self._models: list[EdgeModel] = []
        self._cluster = cluster.up(_config(sites), progress)

    def run(self) -> None:
        """Everything after the cluster is up.

        Raises:
            ClusterError: a step failed, or a figure is not what was promised.
        """
        references = images.build(self._cluster.registry, progress=self._progress)
        digits = sample.train(self._progress)
        sample.publish(self._cluster.registry, self._progress)
        install.install(self._cluster, references, self._progress)
        for name in MODELS:
            rollout.compress(self._cluster, name, self._progress)
        self._models = rollout.wait(self._cluster, MODELS, self._progress)
        with self._check():
            self._digests()
        answers: list[served.Served] = []
        with self._check():
            answers = self._serve(digits)
            check_accuracy(self._models, answers, digits.accuracy)
        scaled: scaling.Scaled | None = None
        with self._check():
            scaled = self._scale(digits)

        print("\nBefore → after, measured by the compression Jobs\n")
        print(report.compression(self._models))
        print(f"\nServed: all {len(digits.images)} held-out images through each site's Service\n")
        print(report.rollout(self._models, answers))
        if scaled is not None:
            load = f"{scaled.answered} requests of {scaling.BATCH} images in {scaled.load_ended:.0f} s"
            print(f"\nUnder load at one site: {load}, {scaling.CONCURRENCY} at a time, none failed\n")
            print(report.replicas(scaled))
        if self._failures:
            raise ClusterError("\n  ".join(self._failures))

    @contextlib.contextmanager
    def _check(self) -> Iterator[None]:
        try:
            yield
        except ClusterError as error:
            if not self._keep_going:
                raise
            self._failures.append(str(error))

    def _digests(self) -> None:
        with self._progress.step("one digest in status, Deployments and containers"):
            for model in self._models:
                rollout.require_one_digest(self._cluster, model)

    def commands(self) -> str:
        """What to type next."""
        model = self._models[0]
        url = rollout.site_url(self._cluster, model, model.status.sites[0].name)
        image = next(path for path in sorted((sample.FOLDER / "images").glob("*.png")))
        return "\n".join(
            (
                f"  export KUBECONFIG={self._cluster.kubeconfig}",
                f"  kubectl get edgemodels -n {rollout.NAMESPACE}",
                f"  kubectl describe edgemodel {model.metadata.name} -n {rollout.NAMESPACE}",
                f"  curl -F image=@{image.relative_to(sample.ROOT)} {url}/predict",
                "  make demo-down",
            )
        )

    def _serve(self, digits: sample.Sample) -> list[served.Served]:
        endpoints = [
            served.Endpoint(model.metadata.name, site.name, rollout.site_url(self._cluster, model, site.name))
            for model in self._models
            for site in model.status.sites
        ]
        with self._progress.step(f"{len(digits.images)} held-out images to every site, by both paths") as step:
            answers = asyncio.run(served.serve_all(endpoints, digits.images))
            step.note = f"{sum(each.images for each in answers)} answers"
        return answers

    def _scale(self, digits: sample.Sample) -> scaling.Scaled:
        model = next(each for each in self._models if each.metadata.name == SCALED_MODEL)
        site = model.status.sites[0].name
        assert model.spec is not None
        least = model.spec.scaling.min_replicas

        def read() -> SiteStatus:
            (now,) = rollout.fetch(self._cluster, [SCALED_MODEL])
            return next(each for each in now.status.sites if each.name == site)

        with self._progress.step(f"load on {site}: replicas up and back") as step:
            url = rollout.site_url(self._cluster, model, site)
            load = scaling.scale_up_and_down(url, SCALED_MODEL, digits.images, least, read, step.update)
            scaled = asyncio.run(load)
            step.note = " → ".join(str(moment.replicas) for moment in scaled.moments)
        return scaled


def _config(sites: int | None) -> ClusterConfig | None:
    if sites is None:
        return None
    base = providers.recorded() or ClusterConfig(provider=providers.choose(dict(os.environ), kind.available()))
    return ClusterConfig(sites=sites, nodes_per_site=base.nodes_per_site, provider=base.provider)


def check_accuracy(models: Sequence[EdgeModel], answers: Sequence[served.Served], before: float) -> None:
    """Raise ClusterError when a site answers less accurately than the EdgeModel allows, beyond what so few images leave
    to chance: when even the upper end of the 95 % interval lies below.

    Args:
        before: accuracy of the uncompressed model on the same images, from 0 to 1.
    """
    for model in models:
        assert model.spec is not None
        allowed = model.spec.compression.objectives.max_accuracy_drop
        if allowed is None:
            continue
        least = before - allowed
        for each in answers:
            highest = wilson(each.right, each.images)[1]
            if each.model == model.metadata.name and highest < least:
                raise ClusterError(
                    f"{each.model} at {each.site} answers {each.accuracy:.2%} of {each.images} images right by"
                    f" {each.path}; the objective is {least:.2%} ({before:.2%} before, at most {allowed:.2%} less)."
                )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description="EdgeModel from end to end, measured.")
    parser.add_argument(
        "command", nargs="?", choices=("up", "down"), default="up", help="run it (default), or remove all"
    )
    parser.add_argument("--sites", type=int, metavar="N", help="edge sites of a new cluster (default 2)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failed check; fail at the end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
