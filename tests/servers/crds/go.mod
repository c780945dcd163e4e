// Where the custom resource definitions of the end-to-end tests come from: nothing is built, the modules are read.
module redis-log-shipper.io/tests/servers/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
