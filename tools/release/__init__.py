"""What a release consists of beside its images: `install.yaml` and the Helm chart, both made from manifests/base."""
