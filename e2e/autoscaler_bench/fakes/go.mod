module hasgpu.dev/autoscaler-bench/fakes

go 1.26.0
